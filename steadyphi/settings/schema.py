"""The settings as typed dataclasses, with the range of each value.

`steadyphi.settings.compose` creates `Settings` from params.yaml and conf/. A stage reads its own section with
`load`.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object
from steadyphi.prompts.formats import Format
from steadyphi.settings.values import (
    DEFAULT_TEMPLATES,
    STRICT,
    Alias,
    Atoms,
    Columns,
    Commit,
    Count,
    ModelName,
    Names,
    Noise,
    Positive,
    Precision,
    Real,
    Regex,
    RowFormatName,
    Seed,
    Share,
    Source,
    SourceName,
    Targets,
    TaskSource,
    Template,
    Text,
    Threads,
    Whole,
    explain,
    location,
    no_twice,
    validate,
)

T = TypeVar("T")


@dataclass(frozen=True, config=STRICT)
class Rates:
    """The learning rate of a model for each method."""

    lora: Positive
    full: Positive
    qlora: Positive


@dataclass(frozen=True, config=STRICT)
class Model:
    """conf/model: a Phi, and the settings that depend on it. `threads` None means all cores."""

    name: Text
    source: Text
    revision: Commit | None
    context: Count
    precision: Precision
    threads: Threads | None
    lr: Rates
    epochs: Count
    batch_tokens: Count
    micro_tokens: Count


@dataclass(frozen=True, config=STRICT)
class HubSplit:
    """A split of a data set on the Hub, at a pinned commit."""

    dataset: Text
    split: Text
    config: Text | None = None
    revision: Commit | None = None


@dataclass(frozen=True, config=STRICT)
class Mixed:
    """One of several sources of the training data: files below the folder `data_file`, or a split on the Hub.

    file: a file, a folder or a glob. styles, grammar: None means those of the whole training data.
    limit: the most examples to train on, drawn at random. weight: how often each of them is trained on in an
    epoch; with 0.5, a random half of them.
    """

    name: SourceName
    file: Text | None = None
    hub: HubSplit | None = None
    format: RowFormatName = "auto"
    instruction: Template = DEFAULT_TEMPLATES[0]
    response: Template = DEFAULT_TEMPLATES[1]
    styles: Names | None = None
    grammar: Share | None = None
    limit: Count | None = None
    weight: Positive = 1.0


@dataclass(frozen=True, config=STRICT)
class Data:
    """conf/data: the training data. `examples` None means all of them.

    files: which files of the folder `data_file` are read, as a glob; None means all. hub: the split that is
    read with the source `hub`. sources: those that are mixed with the source `mixture`.
    Every example is rendered `renderings` times, and epoch n trains on rendering n. A share `grammar` of the
    renderings has formats drawn from the grammar, the others have one of the `styles`.
    grammar_formats: the number of formats of the grammar, chosen at random, that are drawn; None means all.
    answers: the formats in which the base answers the questions; its most frequent answers are trained on.
    None means those of the rows.
    """

    name: Text
    source: Source
    format: RowFormatName
    instruction: Template | None
    response: Template | None
    examples: Count | None
    valid: Count
    styles: Names
    grammar: Share
    renderings: Count
    grammar_formats: Count | None = None
    answers: Names | None = None
    files: Text | None = None
    hub: HubSplit | None = None
    sources: tuple[Mixed, ...] = ()


@dataclass(frozen=True, config=STRICT)
class Development:
    """The held-out atoms, by factor, of the formats that validation during training uses; none if empty."""

    separator: Atoms
    gap: Atoms

    @property
    def atoms(self) -> dict[str, tuple[str, ...]]:
        """The atoms by factor."""
        return {"descriptor": (), "separator": self.separator, "gap": self.gap}


@dataclass(frozen=True, config=STRICT)
class HeldOut:
    """Atoms of the grammar of formats, by factor, that no training format contains; none if empty.

    The unseen formats of the evaluation consist of those named here, and the formats of the validation of
    those in `development`.
    """

    descriptor: Atoms
    separator: Atoms
    gap: Atoms
    development: Development

    @property
    def atoms(self) -> dict[str, tuple[str, ...]]:
        """The atoms of the evaluation's unseen formats, by factor."""
        return {"descriptor": self.descriptor, "separator": self.separator, "gap": self.gap}

    @property
    def untrained(self) -> dict[str, tuple[str, ...]]:
        """All held-out atoms, by factor."""
        return {factor: (*atoms, *self.development.atoms[factor]) for factor, atoms in self.atoms.items()}


@dataclass(frozen=True, config=STRICT)
class Lora:
    """conf/method: low-rank adapters of rank `r` on the `targets`, scaled by `alpha / r`.

    rslora: scaled by `alpha / sqrt(r)`. dora: direction and magnitude are trained separately.
    qlora: the frozen base is stored in four bits.
    """

    name: Literal["lora", "qlora"]
    r: Count
    alpha: Count
    dropout: Annotated[Real, Field(ge=0, lt=1)]
    targets: Targets
    rslora: bool = False
    dora: bool = False


@dataclass(frozen=True, config=STRICT)
class Full:
    """conf/method: every weight is trained.

    base_share: the share of the base's weights in the result; the rest are the trained ones.
    """

    name: Literal["full"]
    base_share: Share = 0.0


Method = Annotated[Lora | Full, Field(discriminator="name")]


@dataclass(frozen=True, config=STRICT)
class Families:
    """The variants besides the formats, evaluated on the first `items` questions.

    0 or an empty list leaves a family out. grammar: number of formats drawn from the grammar.
    grammar_options: the same, with listed options. option_styles: number of ways to list the options, each in
    `option_orders` orders. shots: numbers of few-shot examples, each in `shot_orders` orders.
    """

    items: Count
    grammar: Annotated[int, Field(ge=0, le=5505)]
    grammar_options: Annotated[int, Field(ge=0, le=5505)]
    instructions: Annotated[int, Field(ge=0, le=13)]
    positions: bool
    noise: Annotated[tuple[Noise, ...], AfterValidator(no_twice)]
    noise_levels: Annotated[tuple[Share, ...], AfterValidator(no_twice)]
    shots: Annotated[tuple[Count, ...], AfterValidator(no_twice)]
    shot_orders: Count
    option_styles: Annotated[int, Field(ge=0, le=6)]
    option_orders: Count
    distractors: Annotated[int, Field(ge=0, le=10)]


@dataclass(frozen=True, config=STRICT)
class Open:
    """Open answers: the number of questions with a generated answer, and the most tokens of each."""

    items: Whole
    max_new_tokens: Count


@dataclass(frozen=True, config=STRICT)
class Long:
    """Long prompts: lengths in tokens, depths of the needle, and the number of questions for each of them."""

    lengths: Annotated[tuple[Count, ...], Field(min_length=1)]
    depths: Annotated[tuple[Share, ...], Field(min_length=1)]
    count: Count


@dataclass(frozen=True, config=STRICT)
class Search:
    """Search for the best and the worst of `formats` formats by scoring `cells` pairs of item and format."""

    formats: Annotated[int, Field(ge=2, le=5505)]
    cells: Count
    method: Literal["thompson", "balanced"]


@dataclass(frozen=True, config=STRICT)
class Suite:
    """conf/suite: the number of questions, and the formats and other variants of each.

    unseen: the number of formats that consist of held-out atoms.
    """

    name: Text
    items: Count
    formats: Names
    unseen: Whole
    families: Families | None
    open: Open | None
    long: Long | None
    search: Search | None


@dataclass(frozen=True, config=STRICT)
class Task:
    """conf/task: the questions, and where their choices and answers are found.

    `steadyphi.data.choices` explains `choices` and `answer_is`. The last five fields are for the Hub.
    """

    name: Text
    source: TaskSource
    question: Template | None
    answer: Template | None
    choices: Columns
    answer_pattern: Regex | None
    n_choices: Annotated[int, Field(ge=2)]
    answer_is: Literal["auto", "text", "label", "index", "number"] = "auto"
    labels: Columns = None
    skill: Template | None = None
    open: bool = False
    dataset: Text | None = None
    config: Text | None = None
    split: Text | None = None
    shots_split: Text | None = None
    revision: Commit | None = None


@dataclass(frozen=True, config=STRICT)
class Fetch:
    """The settings of the stage `fetch`.

    source, revision: a folder, or a Hub id and a commit. from_safetensors: the weights to read if there are
    both kinds.
    """

    source: Text
    revision: Commit | None
    from_safetensors: bool | None


@dataclass(frozen=True, config=STRICT)
class Convert:
    """The settings of the stage `convert`."""

    dtype: Literal["keep", "float16", "bfloat16", "float32"]
    check_finite: bool


@dataclass(frozen=True, config=STRICT)
class Prepare:
    """The settings of the stage `prepare`. prompts: the formats of conf/prompts that are named here."""

    data_file: Text
    source: Source
    format: RowFormatName
    instruction: Template | None
    response: Template | None
    examples: Count | None
    valid: Count
    styles: Names
    grammar: Share
    renderings: Count
    context: Count
    task: Task
    items: Count
    formats: Names
    seed: Seed
    task_file: Text
    shots: Whole
    too_long: Literal["drop", "truncate", "split", "error"]
    bad_rows: Literal["refuse", "skip"]
    supervise: Literal["all", "last"]
    contamination: Share
    held_out: HeldOut
    prompts: tuple[Format, ...]
    grammar_formats: Count | None = None
    answers: Names | None = None
    files: Text | None = None
    hub: HubSplit | None = None
    sources: tuple[Mixed, ...] = ()


@dataclass(frozen=True, config=STRICT)
class Finetune:
    """The settings of the stage `finetune`."""

    method: Method
    lr: Positive
    schedule: Literal["cosine", "linear", "constant"]
    epochs: Count
    max_steps: Count | None
    batch_tokens: Count
    micro_tokens: Count
    warmup_ratio: Annotated[Real, Field(ge=0, lt=1)]
    min_lr_ratio: Share
    weight_decay: Annotated[Real, Field(ge=0)]
    clip: Positive
    consistency: Annotated[Real, Field(ge=0)]
    dropout: bool
    evals_per_epoch: Count
    keep: Literal["best", "accuracy", "last"]
    patience: Count | None
    samples: Whole
    checkpointing: bool
    compile: bool
    precision: Precision
    threads: Threads | None
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class Evaluate:
    """The settings of the stage `evaluate`.

    quantized: the numbers of bits in whose weights the formats are asked again. prompts: as in `Prepare`.
    """

    formats: Names
    unseen: Whole
    families: Families | None
    open_answers: bool
    open: Open | None
    long: Long | None
    search: Search | None
    quantized: Annotated[tuple[Literal[8, 4], ...], AfterValidator(no_twice)]
    styles: Names
    grammar: Share
    grammar_formats: Count | None
    held_out: HeldOut
    scorer: Literal["raw", "mean"]
    confidence: Annotated[Real, Field(gt=0, lt=1)]
    draws: Annotated[int, Field(ge=100)]
    batch_tokens: Count
    precision: Precision
    threads: Threads | None
    seed: Seed
    prompts: tuple[Format, ...]


@dataclass(frozen=True, config=STRICT)
class Gate:
    """The setting of the stage `gate`: whether it fails if the tuned model is surely less steady."""

    gate: bool


@dataclass(frozen=True, config=STRICT)
class Evaluation(Evaluate):
    """The section `evaluate`: the settings of the stage, and whether the stage `gate` may fail."""

    gate: bool


@dataclass(frozen=True, config=STRICT)
class Destination:
    """The destination of the published results: the MLflow experiment, and a model in MLflow's registry."""

    experiment: Text
    register: ModelName | None
    alias: Alias
    copy_weights: bool


@dataclass(frozen=True, config=STRICT)
class Publish(Destination):
    """The settings of the stage `publish`: the destination, and all settings that the results depend on."""

    digest: str
    settings: dict[str, Any]


@dataclass(frozen=True, config=STRICT)
class Settings:
    """All settings: first the values of the groups, then one section per stage."""

    seed: Seed
    data_file: Text
    task_file: Text
    held_out: HeldOut
    model: Model
    data: Data
    method: Method
    suite: Suite
    task: Task
    fetch: Fetch
    convert: Convert
    prepare: Prepare
    finetune: Finetune
    evaluate: Evaluation
    publish: Destination


GROUPS = ("model", "data", "method", "suite", "task")
STAGES = ("fetch", "convert", "prepare", "finetune", "evaluate", "publish", "gate")


def _plain(value: object) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def digest(settings: Settings) -> str:
    """Return 12 hex digits that identify all settings that affect results: SHA-256 of canonical JSON."""
    tree = _plain(settings)
    tree["evaluate"].pop("gate")
    tree["publish"] = {"experiment": tree["publish"]["experiment"]}  # the registry does not affect results
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stage_files(settings: Settings) -> dict[str, str]:
    """Return the YAML text of the settings of each stage. The same settings give the same bytes."""
    tree = _plain(settings)
    # `gate` has its own file, so that switching it on does not repeat the evaluation.
    tree["gate"] = {"gate": tree["evaluate"].pop("gate")}
    record = {group: tree[group]["name"] for group in GROUPS} | {"seed": tree["seed"]}
    record |= {stage: tree[stage] for stage in STAGES if stage not in ("publish", "gate")}
    sections = {stage: tree[stage] for stage in STAGES}
    sections["publish"] = {**tree["publish"], "digest": digest(settings), "settings": record}
    return {
        stage: yaml.safe_dump(section, sort_keys=False, allow_unicode=True, width=110)
        for stage, section in sections.items()
    }


def load(path: Path, cls: type[T]) -> T:
    """Read the settings file of one stage, e.g. `load(Path("artifacts/config/finetune.yaml"), Finetune)`.

    Raises SteadyPhiError if the file is missing, or not as `compose` writes it.
    """
    try:
        section: T = validate(read_object(path, advice="run `dvc repro compose`"), cls)
    except OSError as error:
        raise SteadyPhiError(f"{path}: {error.strerror}; run `dvc repro compose`") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ": ".join(filter(None, (str(path), location(first))))
        raise SteadyPhiError(f"{where}: {explain(first)}; run `dvc repro compose`") from None
    return section
