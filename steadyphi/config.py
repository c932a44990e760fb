"""The settings as typed dataclasses: what may be said, section by section, and in which range.

`steadyphi.composing` makes a `Settings` out of params.yaml and conf/; a stage reads its own
section back with `load`.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from steadyphi.errors import SteadyPhiError
from steadyphi.fields import (
    STRICT,
    Commit,
    Count,
    Names,
    Positive,
    Precision,
    Real,
    Regex,
    Seed,
    Share,
    Source,
    Targets,
    Template,
    Text,
    explain,
    location,
    validate,
)

T = TypeVar("T")


@dataclass(frozen=True, config=STRICT)
class Rates:
    """A model's learning rate for each method."""

    lora: Positive
    full: Positive


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
    """conf/method: low-rank adapters of rank `r`, scaled by `alpha / r`, on the `targets`."""

    name: Literal["lora"]
    r: Count
    alpha: Count
    dropout: Annotated[Real, Field(ge=0, lt=1)]
    targets: Targets


@dataclass(frozen=True, config=STRICT)
class Full:
    """conf/method: every weight is trained."""

    name: Literal["full"]


Method = Annotated[Lora | Full, Field(discriminator="name")]


@dataclass(frozen=True, config=STRICT)
class Suite:
    """conf/suite: how many questions are asked, and in which formats."""

    name: Text
    items: Count
    formats: Names


@dataclass(frozen=True, config=STRICT)
class Task:
    """conf/task: which questions are asked, and where their answers stand."""

    name: Text
    source: Source
    question: Template | None
    answer: Template | None
    choices: Text | None
    answer_pattern: Regex | None
    n_choices: Annotated[int, Field(ge=2)]


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


@dataclass(frozen=True, config=STRICT)
class Finetune:
    """What the stage `finetune` needs."""

    method: Method
    lr: Positive
    epochs: Count
    batch_tokens: Count
    micro_tokens: Count
    warmup_ratio: Annotated[Real, Field(ge=0, lt=1)]
    min_lr_ratio: Share
    weight_decay: Annotated[Real, Field(ge=0)]
    clip: Positive
    evals_per_epoch: Count
    precision: Precision
    threads: Count | None
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class Evaluate:
    """What the stage `evaluate` needs."""

    formats: Names
    styles: Names
    scorer: Literal["raw", "mean"]
    confidence: Annotated[Real, Field(gt=0, lt=1)]
    batch_tokens: Count
    precision: Precision
    threads: Count | None


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
    model: Model
    data: Data
    method: Method
    suite: Suite
    task: Task
    fetch: Fetch
    convert: Convert
    prepare: Prepare
    finetune: Finetune
    evaluate: Evaluate
    publish: Destination


GROUPS = ("model", "data", "method", "suite", "task")
STAGES = ("fetch", "convert", "prepare", "finetune", "evaluate", "publish")


def _plain(value: object) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def digest(settings: Settings) -> str:
    """Return 12 hex digits that stand for all settings: SHA-256 over their canonical JSON."""
    text = json.dumps(_plain(settings), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stage_files(settings: Settings) -> dict[str, str]:
    """Return for each stage the YAML text of its settings; same settings, same bytes."""
    tree = _plain(settings)
    record = {group: tree[group]["name"] for group in GROUPS} | {"seed": tree["seed"]}
    record |= {stage: tree[stage] for stage in STAGES if stage != "publish"}
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
