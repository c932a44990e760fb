"""Tests and intervals for paired data: two variants, or one variant before and after, on the same items."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, t

from steadyphi.stats.interval import Interval, accuracy


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the two-sided exact p-value of the hypothesis that both arrays (items,) have equal accuracy.

    Items that both have right, or both wrong, carry no information. Under the hypothesis, each array has half
    of the other, discordant items right (McNemar 1947, doi 10.1007/BF02295996, with the binomial
    distribution). The p-value is 1 if there are no discordant items.
    """
    better = int((second & ~first).sum())
    discordant = int((second != first).sum())
    return float(binomtest(better, discordant, 0.5).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for multiple tests, in the given order.

    The i-th smallest of m, counted from 0, is multiplied by m - i. No adjusted value is smaller than the one
    before it or larger than 1 (Holm 1979, jstor 4615733). If each hypothesis with an adjusted value below
    alpha is rejected, the probability of any false rejection is at most alpha, for any dependence between the
    tests.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_], confidence: float) -> Interval:
    """Return the accuracy of the second minus that of the first, arrays (items,), with its interval.

    Newcombe 1998, doi 10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C, method 10: the
    deviations of the two Wilson intervals are added as squares, minus a term for the correlation of the
    pairs, phi with its continuity correction. For two equal columns the difference and both ends are 0.
    """
    if np.array_equal(first, second):
        return Interval(0.0, 0.0, 0.0)
    before, after = accuracy(np.column_stack([first, second]), confidence)
    phi = _phi(first, second)
    below = _join(after.value - after.low, before.high - before.value, phi)
    above = _join(after.high - after.value, before.value - before.low, phi)
    value = after.value - before.value
    return Interval(value, value - below, value + above)


@dataclass(frozen=True)
class Change:
    """A change of accuracy, after minus before, with its interval and the p-value adjusted by `holm`."""

    change: float
    low: float
    high: float
    p_holm: float


def changes(before: NDArray[np.bool_], after: NDArray[np.bool_], confidence: float) -> list[Change]:
    """Return the change of accuracy of each column, for arrays (items, columns).

    The p-values are adjusted for all columns together.
    """
    p_values = holm([mcnemar(a, b) for a, b in zip(before.T, after.T, strict=True)])
    differences = [paired_difference(a, b, confidence) for a, b in zip(before.T, after.T, strict=True)]
    return [
        Change(difference.value, difference.low, difference.high, p_value)
        for difference, p_value in zip(differences, p_values, strict=True)
    ]


def few_differences(values: NDArray[np.float64], confidence: float) -> tuple[Interval, float]:
    """Return the mean of differences between -1 and 1, (items,), its interval, and the p-value of no change.

    They are Student's after two items are added, with differences that sum to 0 and whose squares sum to 1,
    as in Agresti & Min 2005 (doi 10.1002/sim.1781) for differences of -1, 0 and 1. So the interval has a
    width, and at least its coverage, also for few items of which most do not change.
    """
    items, count = len(values), len(values) + 2
    mean = values.sum() / count
    variance = ((values**2).sum() + 1 - count * mean**2) / (count - 1)
    error = np.sqrt(variance / count)
    half = error * t.isf((1 - confidence) / 2, max(items - 1, 1))
    interval = Interval(float(values.mean()), max(-1.0, float(mean - half)), min(1.0, float(mean + half)))
    return interval, float(2 * t.sf(abs(mean) / error, max(items - 1, 1)))


def _join(first: float, second: float, phi: float) -> float:
    return float(np.sqrt(max(0.0, first**2 - 2 * phi * first * second + second**2)))


def _phi(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the correlation of two columns, with Newcombe's correction; 0 if a column is constant."""
    items = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    lost, won = int((first & ~second).sum()), int((~first & second).sum())
    product = float(both + lost) * (won + neither) * (both + won) * (lost + neither)
    if product == 0:
        return 0.0
    excess = both * neither - lost * won
    return float((max(excess - items / 2, 0.0) if excess > 0 else excess) / np.sqrt(product))
