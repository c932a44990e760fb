"""The settings as typed dataclasses: what may be said, section by section, and in which range.

`steadyphi.settings.compose` makes a `Settings` out of params.yaml and conf/; a stage reads its own
section back with `load`.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from steadyphi.errors import SteadyPhiError
from steadyphi.settings.values import (
    STRICT,
    Columns,
    Commit,
    Count,
    Names,
    Noise,
    Positive,
    Precision,
    Real,
    Regex,
    Seed,
    Share,
    Source,
    Targets,
    TaskSource,
    Template,
    Text,
    Whole,
    explain,
    location,
    no_twice,
    validate,
)

T = TypeVar("T")


@dataclass(frozen=True, config=STRICT)
class Rates:
    """A model's learning rate for each method."""

    lora: Positive
    full: Positive
    qlora: Positive


@dataclass(frozen=True, config=STRICT)
class Model:
    """conf/model: which Phi, and what suits it. `threads` None means all cores."""

    name: Text
    source: Text
    revision: Commit | None
    context: Count
    precision: Precision
    threads: Count | None
    lr: Rates
    epochs: Count
    batch_tokens: Count
    micro_tokens: Count


@dataclass(frozen=True, config=STRICT)
class Data:
    """conf/data: what is learnt from. `examples` None means all of them."""

    name: Text
    source: Source
    instruction: Template | None
    response: Template | None
    examples: Count | None
    valid: Count
    styles: Names


@dataclass(frozen=True, config=STRICT)
class Lora:
    """conf/method: low-rank adapters of rank `r` on the `targets`, scaled by `alpha / r`.

    rslora: scaled by `alpha / sqrt(r)`. dora: direction and magnitude are learnt apart.
    qlora: the frozen base is held in four bits.
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
    """conf/method: every weight is trained."""

    name: Literal["full"]


Method = Annotated[Lora | Full, Field(discriminator="name")]


@dataclass(frozen=True, config=STRICT)
class Families:
    """Which variants beside the formats are asked, of the first `items` questions.

    0 or an empty list leaves a family out. grammar: formats drawn from the grammar; grammar_options: the same
    with listed options; option_styles: common ways to list them, each in `option_orders` orders; shots:
    numbers of examples, each in `shot_orders`.
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
    """How many questions are also answered in the model's own words, and in how many tokens at most."""

    items: Whole
    max_new_tokens: Count


@dataclass(frozen=True, config=STRICT)
class Long:
    """Long prompts: their lengths in tokens, the needle's depths, and questions for each of them."""

    lengths: Annotated[tuple[Count, ...], Field(min_length=1)]
    depths: Annotated[tuple[Share, ...], Field(min_length=1)]
    count: Count


@dataclass(frozen=True, config=STRICT)
class Search:
    """Search for the best and the worst of so many formats by scoring so many cells (item and format)."""

    formats: Annotated[int, Field(ge=2, le=5505)]
    cells: Count
    method: Literal["thompson", "balanced"]


@dataclass(frozen=True, config=STRICT)
class Suite:
    """conf/suite: how many questions are asked, in which formats and variants of them."""

    name: Text
    items: Count
    formats: Names
    families: Families | None
    open: Open | None
    long: Long | None
    search: Search | None


@dataclass(frozen=True, config=STRICT)
class Task:
    """conf/task: which questions are asked, and where their choices and answers stand.

    `steadyphi.data.choices` says what `choices` and `answer_is` may be. The last five are for the Hub.
    """

    name: Text
    source: TaskSource
    question: Template | None
    answer: Template | None
    choices: Columns
    answer_pattern: Regex | None
    n_choices: Annotated[int, Field(ge=2)]
    answer_is: Literal["auto", "text", "label", "index"] = "auto"
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
    """What the stage `fetch` needs: a folder, or a Hub id at a commit; which weights, if it has several."""

    source: Text
    revision: Commit | None
    from_safetensors: bool | None


@dataclass(frozen=True, config=STRICT)
class Convert:
    """What the stage `convert` needs."""

    dtype: Literal["keep", "float16", "bfloat16", "float32"]
    check_finite: bool


@dataclass(frozen=True, config=STRICT)
class Prepare:
    """What the stage `prepare` needs."""

    data_file: Text
    source: Source
    instruction: Template | None
    response: Template | None
    examples: Count | None
    valid: Count
    styles: Names
    context: Count
    task: Task
    items: Count
    formats: Names
    seed: Seed
    task_file: Text
    shots: Whole
    bad_rows: Literal["refuse", "skip"]


@dataclass(frozen=True, config=STRICT)
class Finetune:
    """What the stage `finetune` needs."""

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
    dropout: bool
    evals_per_epoch: Count
    keep: Literal["best", "last"]
    patience: Count | None
    samples: Whole
    checkpointing: bool
    compile: bool
    precision: Precision
    threads: Count | None
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class Evaluate:
    """What the stage `evaluate` needs."""

    formats: Names
    families: Families | None
    open_answers: bool
    open: Open | None
    long: Long | None
    search: Search | None
    styles: Names
    scorer: Literal["raw", "mean"]
    confidence: Annotated[Real, Field(gt=0, lt=1)]
    draws: Annotated[int, Field(ge=100)]
    batch_tokens: Count
    precision: Precision
    threads: Count | None
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class Gate:
    """What the stage `gate` needs: whether it fails when the tuned model is surely less steady."""

    gate: bool


@dataclass(frozen=True, config=STRICT)
class Evaluation(Evaluate):
    """The section `evaluate`: what is evaluated, and whether the stage `gate` judges it."""

    gate: bool


@dataclass(frozen=True, config=STRICT)
class Destination:
    """Where the results are published: the name of the MLflow experiment."""

    experiment: Text


@dataclass(frozen=True, config=STRICT)
class Publish(Destination):
    """What the stage `publish` needs: beside the destination, all that the results came from."""

    digest: str
    settings: dict[str, Any]


@dataclass(frozen=True, config=STRICT)
class Settings:
    """Everything: the groups' values first, then one section a stage."""

    seed: Seed
    data_file: Text
    task_file: Text
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
    """Return 12 hex digits that stand for all that determines results: SHA-256 over canonical JSON."""
    tree = _plain(settings)
    tree["evaluate"].pop("gate")
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stage_files(settings: Settings) -> dict[str, str]:
    """Return for each stage the YAML text of its settings; same settings, same bytes."""
    tree = _plain(settings)
    # The judge has a file of its own, so that turning it on evaluates nothing anew.
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
    """Read one resolved stage file back, e.g. `load(Path("artifacts/config/finetune.yaml"), Finetune)`.

    Raises SteadyPhiError when the file is absent, or is not what `compose` writes.
    """
    try:
        section: T = validate(yaml.safe_load(path.read_bytes()), cls)
    except OSError as error:
        raise SteadyPhiError(f"{path}: {error.strerror}; run `dvc repro compose`") from None
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise SteadyPhiError(f"{path}: not YAML ({line}); run `dvc repro compose`") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ": ".join(filter(None, (str(path), location(first))))
        raise SteadyPhiError(f"{where}: {explain(first)}; run `dvc repro compose`") from None
    return section
