"""The dataclasses of the groups of conf/, with the range of each value: what an option of a group sets."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from steadyphi.settings.values import (
    DEFAULT_TEMPLATES,
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
    RowFormatName,
    Share,
    Source,
    SourceName,
    Targets,
    TaskSource,
    Template,
    Text,
    Threads,
    Weighted,
    Whole,
    no_twice,
)


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
    styles: Weighted | None = None
    grammar: Share | None = None
    limit: Count | None = None
    weight: Positive = 1.0


@dataclass(frozen=True, config=STRICT)
class Data:
    """conf/data: the training data. `examples` None means all of them.

    files: which files of the folder `data_file` are read, as a glob; None means all. hub: the split that is
    read with the source `hub`. sources: those that are mixed with the source `mixture`.
    Every example is rendered `renderings` times, and epoch n trains on rendering n. A share `grammar` of the
    renderings has formats drawn from the grammar, the others have one of the `styles`; a style that is named
    twice is drawn twice as often.
    grammar_formats: the number of formats of the grammar, chosen at random, that are drawn; None means all.
    answers: the formats in which the base answers the questions; its most frequent answers are trained on.
    None means those of the rows. rehearsal: the textbook takes questions of its pretraining split for a skill
    that has no others left.
    """

    name: Text
    source: Source
    format: RowFormatName
    instruction: Template | None
    response: Template | None
    examples: Count | None
    valid: Count
    styles: Weighted
    grammar: Share
    renderings: Count
    grammar_formats: Count | None = None
    answers: Names | None = None
    rehearsal: bool = False
    files: Text | None = None
    hub: HubSplit | None = None
    sources: tuple[Mixed, ...] = ()


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
