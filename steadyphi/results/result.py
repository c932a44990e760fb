"""The result of an evaluation, as stored in result.json.

Accuracies, rates and spreads are shares between 0 and 1 unless the catalogue of measures gives another unit.
`low` and `high` are the ends of a confidence interval.
"""

from dataclasses import dataclass, field
from typing import Literal

from steadyphi.stats.attribution import Effect
from steadyphi.stats.comparison import MeasureChange
from steadyphi.stats.crossed import Component
from steadyphi.stats.interval import Interval
from steadyphi.stats.recommendation import Recommendation
from steadyphi.stats.search import Step

SCHEMA = 4  # of result.json and comparison.json; files of version 1 have no such number


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; the ends are None if there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class OpenAccuracy:
    """The accuracy of generated answers in a format.

    items: the number of items. ranked: the accuracy by log-probability on the same items.
    """

    accuracy: float
    low: float
    high: float
    items: int
    ranked: float


@dataclass(frozen=True)
class VariantRow:
    """A variant of the prompt.

    seen: whether training could have used its format.
    atoms: the level of each factor.
    items: the number of questions scored in both this variant and the default.
    changed: the share of prompts that differ from those of the default.
    prompt: the prompt of one question. boundary: the tokens where prompt and answer meet.
    merges: the share of prompts whose last token extends into the answer in running text.
    accuracy: by the scorer of the evaluation.
    normalized, calibrated, batch_calibrated, any_beginning, panel: accuracies by other scorers, None if a
        scorer is not defined for the variant.
    open: the accuracy of generated answers, None if there are none.
    change: accuracy minus that of the default.
    p_holm: the exact McNemar test, adjusted for all variants.
    """

    name: str
    family: str
    seen: bool
    atoms: dict[str, str]
    items: int
    changed: float
    prompt: str
    boundary: str
    merges: float
    accuracy: float
    low: float
    high: float
    normalized: float | None
    calibrated: float | None
    batch_calibrated: float | None
    any_beginning: float | None
    panel: float | None
    open: OpenAccuracy | None
    change: float
    change_low: float
    change_high: float
    p_holm: float


@dataclass(frozen=True)
class SkillRow:
    """The accuracy of a variant on the questions of one skill."""

    skill: str
    variant: str
    items: int
    accuracy: float


@dataclass(frozen=True)
class PositionMeasure:
    """A measure of the effect of option positions.

    unbiased: the expected value for a model that prefers no position.
    """

    value: float
    unbiased: float


@dataclass(frozen=True)
class OptionRow:
    """A style of listing the options, scored in several orders. `variants` differ only in the order."""

    style: str
    variants: list[str]
    items: int
    orders: int
    accuracy: float
    flip_rate: float
    position_bias: PositionMeasure
    recall_deviation: PositionMeasure


@dataclass(frozen=True)
class LongShare:
    """The share of long prompts of a kind and length that are answered right.

    kind: the position of the rule, the kind of padding, or the task.
    length: the number of tokens of prompt and answer, 0 without padding.
    depth: the depth of the needle, 0 to 1.
    exact: the share of generated texts that equal the answer.
    """

    kind: str
    length: int
    depth: float | None
    items: int
    share: float
    low: float
    high: float
    exact: float | None = None


@dataclass(frozen=True)
class LongSummary:
    """The results of long prompts.

    needle: recall per length and depth.
    rules: the share of rules followed, per position of the rule and length.
    padding: accuracy per kind of padding and length.
    tracking: accuracy per task and length.
    failures: the number of failures per cause.
    effective_length: in tokens, None if recall is too low at every length.
    mid_dip: recall at the ends of the prompt minus recall in its middle, None if not known.
    """

    needle: list[LongShare]
    rules: list[LongShare]
    padding: list[LongShare]
    tracking: list[LongShare]
    failures: dict[str, int]
    effective_length: int | None
    mid_dip: float | None


@dataclass(frozen=True)
class SearchedFormat:
    """The best or the worst format of the search, its prompt for one question, and its accuracy."""

    name: str
    prompt: str
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class SearchResult:
    """The search for the best and the worst of many formats; see `stats.search.SearchOutcome`.

    formats: the number of formats. cells: the number of scored answers, out of `grid`.
    """

    formats: int
    cells: int
    grid: int
    best: SearchedFormat
    worst: SearchedFormat
    spread: Interval
    expected: Interval
    quantiles: dict[str, float]
    trajectory: list[Step]


@dataclass(frozen=True)
class QuantizedChange:
    """The model with its weights in `bits` bits, compared with itself on the same prompts.

    changed: the share of the answers in the named formats that differ. measures: over the formats.
    """

    bits: int
    changed: float
    measures: list[MeasureChange]


@dataclass(frozen=True)
class Decomposition:
    """The variance of an answer (1 if right, else 0), divided among crossed factors.

    name: "format" for the named formats, "options" for listed options, whose formats are the styles.
    levels: the number of levels of each factor. components: see `stats.crossed`.
    """

    name: str
    levels: dict[str, int]
    components: list[Component]


@dataclass(frozen=True)
class Result:
    """The result of the evaluation of one model.

    label: "base" or "tuned".
    confidence, draws, seed: of the intervals.
    scorer: the scorer that ranks the choices.
    items, formats: the number of questions and of named formats.
    chance: the accuracy of random guessing.
    default: the format that the variants are compared with.
    measures: by key of the catalogue.
    variants: the default comes first.
    quantiles: of accuracy over the named formats, by percent.
    effects, aliased, explained: see `stats.attribution.Attribution`.
    alarms: reasons not to rely on the numbers.
    notes: the parts of the suite that were left out.
    """

    label: str
    confidence: float
    draws: int
    seed: int
    scorer: Literal["raw", "mean"]
    items: int
    formats: int
    chance: float
    default: str
    measures: dict[str, Estimate]
    variants: list[VariantRow]
    quantiles: dict[str, float]
    effects: list[Effect] = field(default_factory=list)
    aliased: list[str] = field(default_factory=list)
    explained: float = 0.0
    skills: list[SkillRow] = field(default_factory=list)
    options: list[OptionRow] = field(default_factory=list)
    recommendation: Recommendation | None = None
    alarms: list[str] = field(default_factory=list)
    long: LongSummary | None = None
    search: SearchResult | None = None
    quantized: list[QuantizedChange] = field(default_factory=list)
    decompositions: list[Decomposition] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
