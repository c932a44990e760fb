"""The comparison of two evaluations, and the content of a report on one or both."""

from dataclasses import dataclass
from typing import Any, Literal

from steadyphi.results.result import Result
from steadyphi.stats.comparison import Comparison, MeasureChange


@dataclass(frozen=True)
class FamilyChange:
    """The changes of a family of variants, a style of listing options or a kind of long prompts.

    items: the number of questions in both evaluations. variants: the number of their variants.
    """

    part: Literal["family", "options", "long"]
    name: str
    items: int
    variants: int
    measures: list[MeasureChange]


@dataclass(frozen=True)
class RunComparison(Comparison):
    """The comparison of two evaluations on their common prompts: the formats, then the other families.

    items: the number of questions that both evaluations scored in all common formats.
    """

    items: int
    families: list[FamilyChange]


@dataclass(frozen=True)
class Answers:
    """The answers of a run to one question, by format: the choice, and the right choice's probability.

    probabilities: of every choice, by format.
    """

    chosen: list[int]
    probability: list[float]
    probabilities: list[list[float]]


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
    """The questions that all runs scored in all formats of `variants`: the named and the held-out ones."""

    variants: list[str]
    items: list[QuestionAnswers]


@dataclass(frozen=True)
class MixedModel:
    """The mixed-effects logistic model of two runs, in logits (log-odds of a right answer).

    questions, formats: that it is fitted to. tuned: the effect of fine-tuning in an average format.
    deviations: the standard deviation of each random term.
    """

    questions: int
    formats: int
    tuned: float
    deviations: dict[str, float]


@dataclass(frozen=True)
class Experiment:
    """The content of a report: the evaluation of one model, or of the base model and the tuned model.

    settings: the names of the options, such as model and data. comparison, mixed: None for a single run.
    """

    settings: dict[str, Any]
    runs: list[Result]
    comparison: RunComparison | None
    answers: AnswerTable
    mixed: MixedModel | None = None
