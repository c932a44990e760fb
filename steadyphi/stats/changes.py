"""The change of a measure from one run to another on the same items, its errors, interval and p-value."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.bootstrap import (
    Arrays,
    Resampling,
    centred_interval,
    distributions,
    expanded,
    item_means,
)
from steadyphi.stats.components import variance_change
from steadyphi.stats.estimate import Measure
from steadyphi.stats.extremes import change_errors, extreme_errors, extreme_interval
from steadyphi.stats.interval import mean_interval, mean_p_value
from steadyphi.stats.paired import few_differences, mcnemar, paired_difference

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """A change and its error, estimate minus truth, in each draw.

    errors: an array (draws,) for each method that estimates the error. The first method is the plain
    bootstrap. The biases of the two runs nearly cancel in the change, so only deviations from the mean count.
    """

    change: float
    errors: list[Floats]

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the smallest interval that contains the interval of each method."""
        if len(self.errors) > 1:
            return extreme_interval(self.change, self.errors, confidence)
        return centred_interval(self.change, self.errors[0], confidence)

    def p_value(self, worse: int) -> float:
        """Return the one-sided p-value of a true change that is not in direction `worse`.

        It is the largest of all methods. A method gives (b + 1) / (m + 1), where the error is at least as
        large as the change in b of the m draws (Hall & Wilson 1991, doi 10.2307/2532163).
        """
        if worse * self.change <= 0:
            return 1.0
        centred = self.errors[0] - self.errors[0].mean()
        errors = [centred, *self.errors] if len(self.errors) > 1 else [centred]
        return max(float(((worse * e >= worse * self.change).sum() + 1) / (len(e) + 1)) for e in errors)


def errors_of_run(measure: Measure, run: Arrays, resampling: Resampling) -> list[Floats]:
    """Return the error of a measure in each draw, an array (draws,) for each method that estimates it.

    The kind of the measure is "bootstrap" or "item mean". The measures of `extremes` have two methods, the
    others one. The same seed draws the same items for all runs.
    """
    inputs = [run[name] for name in measure.arrays]
    if measure.extreme:
        return list(extreme_errors(measure.function, inputs[0], resampling))
    if measure.of_items:
        values = np.asarray(measure.of_items(*inputs), dtype=float)
        return [item_means(values[:, None], resampling)[:, 0] - values.mean()]
    read = {name: run[name] for name in measure.arrays}
    return [distributions({"": measure.value}, read, resampling)[""] - measure.value(run)]


def drawn_change(measure: Measure, before: Arrays, after: Arrays, resampling: Resampling) -> Drawn:
    """Return the change of a measure from one run to another, and its error in each draw.

    measure: of a kind that `errors_of_run` takes, or sigma_T. The change of sigma_T is that of sigma_T^2.
    """
    if measure.kind == "own interval":
        name = measure.arrays[0]
        change, drawn_errors = variance_change(before[name], after[name], resampling)
        return Drawn(change, [drawn_errors])
    errors_of_runs = [errors_of_run(measure, run, resampling) for run in (before, after)]
    if all(np.array_equal(before[name], after[name]) for name in measure.arrays):
        errors_of_runs = [errors[:1] for errors in errors_of_runs]  # nothing changed, so no tie was broken
    change = float(difference(measure.value(before), measure.value(after)))
    return Drawn(change, change_errors(*errors_of_runs))


def difference(before: Any, after: Any) -> Any:
    """Return after minus before, where differences that are rounding errors, such as -5e-16, are 0.

    Otherwise a test may take many rounding errors of the same sign for a change.
    """
    change = after - before
    return np.where(np.abs(change) < 1e-12, 0.0, change)


@dataclass(frozen=True)
class Tested:
    """A change with its interval, and the two-sided p-value of no change; NaN where these are unknown."""

    change: float
    low: float
    high: float
    p_value: float


def tested_change(measure: Measure, before: Arrays, after: Arrays, resampling: Resampling) -> Tested:
    """Return the change of a measure whose kind is "bootstrap" or "item mean".

    For a share of items, the interval is Newcombe's `paired_difference` and the test McNemar's; for another
    mean over items, both are Student's, or those of `few_differences` for long prompts. Otherwise both come
    from the same draws: the interval is the `extreme_interval` for a measure of the best or worst variants,
    and else the `centred_interval`.
    """
    confidence = resampling.confidence
    if measure.of_items:
        was, now = (measure.of_items(*(run[name] for name in measure.arrays)) for run in (before, after))
        if was.dtype == bool:
            estimate, p_value = paired_difference(was, now, confidence), mcnemar(was, now)
        elif measure.scope == "long prompts":  # few questions
            estimate, p_value = few_differences(difference(was, now), confidence)
        else:
            changes = difference(was, now)
            estimate, p_value = mean_interval(changes, confidence), mean_p_value(changes)
        return Tested(estimate.value, estimate.low, estimate.high, p_value)
    drawn = drawn_change(measure, before, after, resampling)
    low, high = drawn.interval(expanded(confidence, len(before[measure.arrays[0]])))
    p_value = min(1.0, 2 * drawn.p_value(1 if drawn.change > 0 else -1))
    return Tested(drawn.change, low, high, p_value if np.isfinite(low) else float("nan"))
