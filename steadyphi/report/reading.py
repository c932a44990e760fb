"""Models, variants and changes of an experiment, as several sections of the report need them."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from steadyphi.results.experiment import Experiment
from steadyphi.results.result import Result, VariantRow
from steadyphi.stats.comparison import MeasureChange

T = TypeVar("T", bound=Hashable)

FORMAT_FAMILIES = ("format", "unseen", "grammar")
SETS = {
    "trained": (
        "Trained on",
        "Named formats that training used, or could draw from the grammar.",
    ),
    "chosen": (
        "Chosen on",
        "Named formats that training did not use. The prompt to use is chosen among all named formats.",
    ),
    "tested": (
        "Tested on",
        "Formats of held-out atoms: training saw no descriptor, separator or gap of these.",
    ),
}
MODELS = {"base": "the base model", "tuned": "the fine-tuned model"}


@dataclass(frozen=True)
class FormatSet:
    """A set of formats that all runs answered: its title, what it is, and its rows in each run.

    rows: by run; the formats of all runs in the same order, the best of the first run first.
    """

    key: str
    title: str
    meaning: str
    rows: list[list[VariantRow]]


def format_sets(runs: Sequence[Result]) -> list[FormatSet]:
    """Return the formats in sets by their use; a single run has only named and held-out formats."""
    names: dict[str, list[str]] = {}
    for row in formats(runs[0]):
        if all(of_run is not None for of_run in across(runs, row.name)) and (key := _set(row, len(runs))):
            names.setdefault(key, []).append(row.name)
    titles = SETS if len(runs) > 1 else {"chosen": ("Named formats", ""), "tested": ("Held-out formats", "")}
    return [
        FormatSet(key, title, meaning, [[variant(run, name) for name in names[key]] for run in runs])
        for key, (title, meaning) in titles.items()
        if key in names
    ]


def _set(row: VariantRow, runs: int) -> str | None:
    if row.family == "format":
        return "trained" if row.seen and runs > 1 else "chosen"
    return "tested" if row.family == "unseen" else None


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
