"""The errors of the best, the worst and the mean of the worst quarter of variants, where variants may tie.

Resampled items give the error of a mean over items. They do not give the error of a maximum over variants:
where several variants are about equally good, the draws of the maximum are too high by an amount that depends
on how many these are, which the answers do not tell. Two limits are known. If no variant is near the best
one, the draws are right as they are. If some are truly as good as the best one, the error of the maximum is
the largest error among them (the directional derivative: Fang & Santos 2019, doi 10.1093/restud/rdy049). The
interval covers both, and what is between: `extreme_interval` joins the intervals of both with the centred
one. Variants are near if they differ by at most `NEAR` standard errors of the paired difference.
`benchmarks/coverage.py` measures how often the intervals hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats import measures
from steadyphi.stats.bootstrap import Resampling, centred_interval, item_means, tails

NEAR = 2.5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """Accuracies over variants, as numbers or arrays (draws,); `quarter` is the mean of the worst quarter."""

    mean: Any
    best: Any
    worst: Any
    quarter: Any


# The measures of `measures` that depend on which variant is best or worst, as functions of `Ends`.
FROM_ENDS: Mapping[Callable[..., Any], Callable[[Ends], Any]] = {
    measures.best_accuracy: lambda ends: ends.best,
    measures.worst_accuracy: lambda ends: ends.worst,
    measures.worst_quarter: lambda ends: ends.quarter,
    measures.spread: lambda ends: ends.best - ends.worst,
    measures.saturation: lambda ends: 1 - (ends.best - ends.mean),
}


def extreme_errors(
    function: Callable[..., Any], correct: NDArray[np.bool_], resampling: Resampling
) -> tuple[Floats, Floats]:
    """Return the errors of a measure of `FROM_ENDS` by draw: without ties, and with all near variants tied.

    correct: (items, variants). Each result has the shape (draws,).
    """
    shares = correct.mean(axis=0)
    errors = item_means(correct, resampling) - shares
    quarter = measures.quarter_of(correct.shape[1])
    observed = _ends(shares, quarter)
    tied = Ends(
        shares.mean() + errors.mean(axis=1),
        observed.best - _tied(~correct, -errors, 1),
        observed.worst + _tied(correct, errors, 1),
        observed.quarter + _tied(correct, errors, quarter),
    )
    measure = FROM_ENDS[function]
    value = measure(observed)
    return measure(_ends(shares + errors, quarter)) - value, measure(tied) - value


def change_errors(before: Sequence[Floats], after: Sequence[Floats]) -> list[Floats]:
    """Return the error of the change for each pair of a method for one run and a method for the other."""
    return [now - was for was, now in product(before, after)]


def extreme_interval(value: float, errors: Sequence[Floats], confidence: float) -> tuple[float, float]:
    """Return the smallest interval that contains that of each of `errors`, and the centred one of the first.

    An error is the estimate minus the truth, so its quantiles are subtracted from the value.
    """
    low, high = centred_interval(value, errors[0], confidence)
    for drawn in errors:
        below, above = np.quantile(drawn, tails(confidence))
        low, high = min(low, value - above), max(high, value - below)
    return float(low), float(high)


def _ends(shares: Floats, quarter: int) -> Ends:
    """Return the ends of accuracies (..., variants)."""
    ordered = np.sort(shares, axis=-1)
    return Ends(shares.mean(axis=-1), ordered[..., -1], ordered[..., 0], ordered[..., :quarter].mean(axis=-1))


def _tied(correct: NDArray[np.bool_], errors: Floats, count: int) -> Floats:
    """Return the errors of the mean of the `count` lowest accuracies if all near the last of them tie."""
    shares = correct.mean(axis=0)
    last = np.argsort(shares, kind="stable")[count - 1]
    gaps = shares - shares[last]
    deviations = np.sqrt(np.maximum((correct != correct[:, [last]]).mean(axis=0) - gaps**2, 0) / len(correct))
    level = np.where(np.abs(gaps) <= NEAR * deviations, shares[last], shares)
    lowest: Floats = np.sort(level + errors, axis=1)[:, :count].mean(axis=1)
    return lowest - np.sort(level)[:count].mean()
