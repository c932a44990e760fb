"""The result of an evaluation, as it is written to result.json, and of two evaluations side by side.

Accuracies, rates and spreads are shares between 0 and 1 unless the catalogue of measures gives another unit.
`low` and `high` are the ends of a confidence interval.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from steadyphi.stats.attribution import Effect
from steadyphi.stats.comparison import Comparison, MeasureChange
from steadyphi.stats.measures import Interval
from steadyphi.stats.recommendation import Recommendation
from steadyphi.stats.search import Step

SCHEMA = 2  # of result.json and comparison.json; 1 had no number


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; the ends are None if there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class OpenAccuracy:
    """The accuracy of generated answers in a format.

    ranked: the accuracy by log-probability on the same items. items: the number of them.
    """

    accuracy: float
    low: float
    high: float
    items: int
    ranked: float


@dataclass(frozen=True)
class VariantRow:
    """A variant of the prompt.

    seen: whether its format was a training style. atoms: the level of each factor. items: the number of
    questions asked in it and in the default. changed: the share of prompts that differ from the default's.
    prompt: of one question. boundary: the tokens where prompt and answer meet; merges: the share of prompts
    whose last token would reach into the answer in running text.
    accuracy: by the scorer of the evaluation. normalized, calibrated, batch_calibrated: accuracies by other
    scorers, None if a scorer is not defined for the variant. open: of generated answers, None if not asked.
    change: accuracy minus that of the default. p_holm: exact McNemar, adjusted for all variants.
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
    """How much the positions of options matter.

    unbiased: the value to expect of a model that prefers no position.
    """

    value: float
    low: float | None
    high: float | None
    unbiased: float


@dataclass(frozen=True)
class OptionRow:
    """A style of listing the options, asked in several orders; `variants` differ in the order alone."""

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

    kind: the position of the rule, the kind of padding, or the task. length: tokens of prompt and answer, 0
    without padding. depth: of the needle, 0 to 1. exact: the share of generated texts that are the answer.
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

    needle: recall per length and depth. rules: followed, per position of the rule and length. padding:
    accuracy per kind of padding and length. tracking: accuracy per task and length.
    failures: the number of failures per cause. effective_length: in tokens, None if recall is too low at
    every length. mid_dip: recall at the ends of the prompt minus recall in its middle, None if not known.
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
    """A format that the search names, the prompt of one question in it, and its accuracy."""

    name: str
    prompt: str
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class SearchResult:
    """The search for the best and the worst of many formats; see `stats.search.Found`.

    formats: how many there are. cells: how many answers were scored, of `grid` in all.
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
class Result:
    """The result of the evaluation of one model.

    label: "base" or "tuned". confidence, draws, seed: of the intervals. scorer: what choices are ranked by.
    items, formats: the number of questions and of named formats. chance: the accuracy of choosing blindly.
    default: the format that variants are compared with. measures: by key of the catalogue.
    variants: the default first. quantiles: of accuracy over the named formats, by percent.
    effects, aliased, explained: see `stats.attribution.Attribution`.
    alarms: reasons not to rely on the numbers.
    notes: what the suite asks for and was left out.
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
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FamilyChange:
    """The changes of a family of variants, a style of listing options or a kind of long prompts.

    items: the number of questions that both evaluations asked. variants: in how many variants.
    """

    part: Literal["family", "options", "long"]
    name: str
    items: int
    variants: int
    measures: list[MeasureChange]


@dataclass(frozen=True)
class RunComparison(Comparison):
    """Two evaluations on what both asked in the same words: the formats, then the other families.

    items: the number of questions that both asked in all of their common formats.
    """

    items: int
    families: list[FamilyChange]


@dataclass(frozen=True)
class Answers:
    """The answers of a run to one question, by format: the chosen choice, the right choice's probability."""

    chosen: list[int]
    probability: list[float]


@dataclass(frozen=True)
class QuestionAnswers:
    """A question with its prompt in each format and the answers of each run."""

    id: str
    skill: str
    question: str
    choices: list[str]
    answer: int
    prompts: list[str]
    runs: list[Answers]


@dataclass(frozen=True)
class AnswerTable:
    """Every question that all runs were asked in all named formats."""

    variants: list[str]
    items: list[QuestionAnswers]


@dataclass(frozen=True)
class Experiment:
    """Everything that a report shows: one evaluation, or the base model's and the tuned model's.

    settings: names of the choices, such as model and data. comparison: None for a single run.
    """

    settings: dict[str, Any]
    runs: list[Result]
    comparison: RunComparison | None
    answers: AnswerTable
