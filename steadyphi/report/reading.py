"""Models, variants and changes of an experiment, as several sections of the report need them."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from steadyphi.results.result import Experiment, Result, VariantRow
from steadyphi.stats.comparison import MeasureChange

T = TypeVar("T", bound=Hashable)

FORMAT_FAMILIES = ("format", "unseen", "grammar")
MODELS = {"base": "the base model", "tuned": "the fine-tuned model"}


def model(run: Result) -> str:
    """Return the name of the run's model for use within a sentence."""
    return MODELS.get(run.label, run.label)


def formats(run: Result) -> list[VariantRow]:
    """Return the variants that differ from the default in their format only, the best first."""
    rows = [row for row in run.variants if row.family in FORMAT_FAMILIES]
    return sorted(rows, key=lambda row: (-row.accuracy, row.name))


def variant(run: Result, name: str) -> VariantRow:
    """Return the variant of this name."""
    return next(row for row in run.variants if row.name == name)


def across(runs: Sequence[Result], name: str) -> list[VariantRow | None]:
    """Return the variant of this name in each run; None for a run without it."""
    return [next((row for row in run.variants if row.name == name), None) for run in runs]


def changes(experiment: Experiment) -> dict[str, MeasureChange]:
    """Return the change of each measure by key; empty for a single run."""
    return {row.key: row for row in experiment.comparison.measures} if experiment.comparison else {}


def distinct(values: Iterable[T]) -> list[T]:
    """Return the values without repetitions, in the order of their first occurrence."""
    return list(dict.fromkeys(values))
