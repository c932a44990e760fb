"""Two variants, or one variant before and after, on the same items: tests and intervals for pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from steadyphi.stats import measures
from steadyphi.stats.measures import Interval


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the two-sided exact p-value of "both are right equally often", arrays (items,).

    Items that both have right, or both wrong, say nothing; of the others, half should favour each (McNemar
    1947, doi 10.1007/BF02295996, with the binomial distribution). 1 if there are none.
    """
    better = int((second & ~first).sum())
    discordant = int((second != first).sum())
    return float(binomtest(better, discordant, 0.5).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for there being several, in the order given.

    The i-th smallest of m, counted from 0, is multiplied by m - i; none gets smaller than one before it nor
    larger than 1 (Holm 1979, jstor 4615733). Rejecting where it is below alpha errs anywhere at all with a
    probability of at most alpha, whatever the dependence between the tests.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_], confidence: float) -> Interval:
    """Return the accuracy of the second less that of the first, arrays (items,), with its interval.

    Newcombe 1998, doi 10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C, method 10: the two
    Wilson intervals put together as squares, less what the pairs have in common, phi with its correction for
    continuity. Of two equal columns the difference is 0 and so are both ends.
    """
    if np.array_equal(first, second):
        return Interval(0.0, 0.0, 0.0)
    before, after = measures.accuracy(np.column_stack([first, second]), confidence)
    phi = _phi(first, second)
    below = _join(after.value - after.low, before.high - before.value, phi)
    above = _join(after.high - after.value, before.value - before.low, phi)
    value = after.value - before.value
    return Interval(value, value - below, value + above)


@dataclass(frozen=True)
class Change:
    """A change of accuracy, after less before, with its interval and the p-value adjusted by `holm`."""

    change: float
    low: float
    high: float
    p_holm: float


def changes(before: NDArray[np.bool_], after: NDArray[np.bool_], confidence: float) -> list[Change]:
    """Return the change of accuracy of each column of arrays (items, columns).

    The p-values are adjusted for all columns together.
    """
    p_values = holm([mcnemar(a, b) for a, b in zip(before.T, after.T, strict=True)])
    differences = [paired_difference(a, b, confidence) for a, b in zip(before.T, after.T, strict=True)]
    return [
        Change(difference.value, difference.low, difference.high, p_value)
        for difference, p_value in zip(differences, p_values, strict=True)
    ]


def _join(one: float, other: float, phi: float) -> float:
    return float(np.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2)))


def _phi(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the correlation of two columns, nearer 0 by Newcombe's correction; 0 if one is constant."""
    items = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    lost, won = int((first & ~second).sum()), int((~first & second).sum())
    product = float(both + lost) * (won + neither) * (both + won) * (lost + neither)
    if product == 0:
        return 0.0
    excess = both * neither - lost * won
    return float((max(excess - items / 2, 0.0) if excess > 0 else excess) / np.sqrt(product))
