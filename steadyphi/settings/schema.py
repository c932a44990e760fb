"""The settings as typed dataclasses: all of them, and the section of each stage.

`steadyphi.settings.compose` creates `Settings` from params.yaml and conf/. A stage reads its own section with
`steadyphi.settings.files.load_settings`. What the groups of conf/ set is in `steadyphi.settings.groups`.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from steadyphi.prompts.formats import Format
from steadyphi.settings.groups import (
    Data,
    Families,
    Full,
    HubSplit,
    Long,
    Lora,
    Mixed,
    Model,
    Open,
    Search,
    Suite,
    Task,
)
from steadyphi.settings.values import (
    STRICT,
    Alias,
    Atoms,
    Commit,
    Count,
    ModelName,
    Names,
    Positive,
    Precision,
    Real,
    RowFormatName,
    Seed,
    Share,
    Source,
    Template,
    Text,
    Threads,
    Weighted,
    Whole,
    no_twice,
)

Method = Annotated[Lora | Full, Field(discriminator="name")]


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
    styles: Weighted
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
    rehearsal: bool = False
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
    styles: Weighted
    grammar: Share
    grammar_formats: Count | None
    held_out: HeldOut
    scorer: Literal["raw", "mean"]
    confidence: Annotated[Real, Field(gt=0, lt=1)]
    draws: Annotated[int, Field(ge=100, le=100_000)]
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
