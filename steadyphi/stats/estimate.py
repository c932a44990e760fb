"""Measures, and their estimates with confidence intervals from the answers of an evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Literal

from numpy import bool_, clip
from numpy.typing import NDArray

from steadyphi.stats.bootstrap import Arrays, Resampling, expanded, intervals
from steadyphi.stats.extremes import FROM_ENDS, extreme_errors, extreme_interval
from steadyphi.stats.interval import Interval, accuracy, mean_interval
from steadyphi.stats.item_means import ITEM_MEANS

Unit = Literal["share", "points", "nats per token", "bits", "probability", "ratio"]
# The data from which a measure is computed.
Scope = Literal[
    "formats",  # the named formats, all questions
    "several formats",  # the same, with at least two formats and two questions
    "unseen formats",  # the formats that consist of held-out atoms, all questions
    "grammar",  # the formats drawn from the grammar
    "perturbations",  # the perturbed variants, and the default format
    "classes",  # the formats, where all questions have the same choices
    "open answers",  # generated answers
    "option orders",  # one style of listing options, in several orders
    "family",  # the variants of another family, and the default format
    "long prompts",
    "rounding",  # the same prompts in other batches
]
# How the value follows from `function(*arrays)`, and how its interval is computed.
Kind = Literal[
    "bootstrap",  # the value itself; the interval by resampling items, for extremes as in `extremes`
    "pigeonhole",  # the same, but the interval resamples variants too
    "item mean",  # an array (items,), whose mean is the value; the interval is Student's
    "own interval",  # an Interval; the function takes a Resampling last
    "resampled",  # the value itself, without an interval; the function takes a Resampling last
    "value",  # the value itself, without an interval
]
Use = Literal["summary", "verdict", "gate"]


@dataclass(frozen=True)
class Measure:
    """A measure.

    key: in metrics/*.json and result.json. name: in the report. label: within a sentence.
    function: takes the arrays named in `arrays`; its docstring gives their shapes. NaN: undefined for these.
    worse: 1 if a greater value is worse, -1 if a smaller one is, 0 if neither. bounds: the possible values.
    uses: "summary" (metrics/summary.json and report.md), "verdict" (the report's first paragraph), "gate".
    """

    key: str
    name: str
    unit: Unit
    meaning: str
    source: str
    function: Callable[..., Any]
    arrays: tuple[str, ...]
    scope: Scope = "formats"
    kind: Kind = "bootstrap"
    worse: Literal[-1, 0, 1] = 0
    bounds: tuple[float, float] = (0.0, 1.0)
    label: str = ""
    uses: tuple[Use, ...] = ()

    @property
    def extreme(self) -> bool:
        """Whether the value depends on which variant is best or worst."""
        return self.kind == "bootstrap" and self.function in FROM_ENDS

    @property
    def of_items(self) -> Callable[..., Any] | None:
        """The function whose values (items,) have the value as their mean; None if it is no such mean."""
        if self.kind == "item mean":
            return self.function
        return ITEM_MEANS.get(self.function) if self.kind == "bootstrap" else None

    @property
    def computed_by(self) -> str:
        """The module and name of the function, such as `steadyphi.stats.measures.spread`."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def value(self, arrays: Arrays) -> float:
        """Return the value for these arrays, without an interval."""
        value = self.function(*(arrays[name] for name in self.arrays))
        return float(value.mean()) if self.kind == "item mean" else float(value)


def estimate(measures: Sequence[Measure], arrays: Arrays, resampling: Resampling) -> dict[str, Interval]:
    """Return each measure's value and interval; the ends are NaN if the measure has no interval.

    arrays: those that the measures name, each with the items first. A measure that is undefined for these
    arrays is left out.
    """
    return {
        measure.key: interval
        for measure in measures
        if not isnan((interval := _estimate(measure, arrays, resampling)).value)
    }


def _bootstrapped(measure: Measure, inputs: Arrays, resampling: Resampling) -> Interval:
    by_key = intervals(
        {measure.key: measure.value}, inputs, resampling, measure.kind == "pigeonhole", measure.bounds
    )
    return by_key[measure.key]


def _estimate(measure: Measure, arrays: Arrays, resampling: Resampling) -> Interval:
    nan = float("nan")
    inputs = [arrays[name] for name in measure.arrays]
    if measure.extreme:
        return _extreme(measure, inputs[0], resampling)
    if measure.of_items:
        return item_mean(measure.of_items(*inputs), measure.bounds, resampling.confidence)
    if measure.kind in ("bootstrap", "pigeonhole"):
        return _bootstrapped(measure, {name: arrays[name] for name in measure.arrays}, resampling)
    if measure.kind == "own interval":
        interval: Interval = measure.function(*inputs, resampling)
        return interval
    value = measure.function(*inputs, *([resampling] if measure.kind == "resampled" else []))
    return Interval(float(value), nan, nan)


def _extreme(measure: Measure, correct: NDArray[bool_], resampling: Resampling) -> Interval:
    value = float(measure.function(correct))
    errors = extreme_errors(measure.function, correct, resampling)
    low, high = clip(
        extreme_interval(value, errors, expanded(resampling.confidence, len(correct))), *measure.bounds
    )
    return Interval(value, float(low), float(high))


def item_mean(values: NDArray[Any], bounds: tuple[float, float], confidence: float) -> Interval:
    """Return the mean over items of `values` (items,) with its interval, within bounds.

    It is Student's; for truth values the Wilson interval, which holds near 0 and 1 too.
    """
    if values.dtype == bool:
        return accuracy(values[:, None], confidence)[0]
    interval = mean_interval(values, confidence)
    return Interval(interval.value, max(bounds[0], interval.low), min(bounds[1], interval.high))
