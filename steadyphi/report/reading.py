"""Reading the result of an experiment: which runs, which variants, in which order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
Run = Mapping[str, Any]
Variant = Mapping[str, Any]

FORMAT_FAMILIES = ("format", "grammar")
MODELS = {"base": "the base model", "tuned": "the fine-tuned model"}


def label(run: Run) -> str:
    """Return the run's short name, as in legends and column heads."""
    return str(run["label"])


def model(run: Run) -> str:
    """Return what to call the run's model within a sentence."""
    return MODELS.get(label(run), label(run))


def formats(run: Run) -> list[Variant]:
    """Return the variants that differ in format alone, best first; all where none is such."""
    found = [v for v in run["variants"] if v["family"] in FORMAT_FAMILIES]
    return sorted(found or run["variants"], key=lambda v: (-v["accuracy"], v["name"]))


def across(runs: Sequence[Run], name: str) -> list[Variant | None]:
    """Return the variant of this name in each run, None where a run was not asked in it."""
    return [next((v for v in run["variants"] if v["name"] == name), None) for run in runs]


def measure(run: Run, key: str) -> Mapping[str, Any] | None:
    """Return a measure of a run, {"value", "low", "high"}, or None where it was not taken."""
    return run["measures"].get(key)


def changes(result: Result) -> Mapping[str, Mapping[str, Any]]:
    """Return what the comparison of the two runs says of each measure, by key; empty with one run."""
    comparison = result.get("comparison")
    return {m["key"]: m for m in comparison["measures"]} if comparison else {}


def distinct(values: Iterable[Any]) -> list[Any]:
    """Return the values without repetitions, in the order of their first occurrence."""
    return list(dict.fromkeys(values))
