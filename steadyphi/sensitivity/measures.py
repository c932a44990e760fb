"""How much answers depend on the prompt format, as numbers.

All take `chosen`, an integer array (items, formats) of the choice that the model ranks first, or
`correct`, a boolean array of the same shape.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


@dataclass(frozen=True)
class Interval:
    """A share with its confidence interval, all between 0 and 1."""

    value: float
    low: float
    high: float


def accuracy(correct: NDArray[np.bool_], confidence: float) -> list[Interval]:
    """Return each format's share of right answers with its Wilson score interval.

    Wilson 1927, doi 10.1080/01621459.1927.10502953: unlike the normal approximation it stays within
    0 and 1 and keeps its coverage for small samples and shares near the ends.
    """
    intervals = []
    for column in correct.T:
        found = binomtest(int(column.sum()), len(column)).proportion_ci(confidence, method="wilson")
        intervals.append(Interval(float(column.mean()), float(found.low), float(found.high)))
    return intervals


def spread(correct: NDArray[np.bool_]) -> float:
    """Return the best format's accuracy less the worst's (Sclar et al. 2024, arXiv 2310.11324)."""
    shares = correct.mean(axis=0)
    return float(shares.max() - shares.min())


def flip_rate(chosen: NDArray[np.int_]) -> float:
    """Return the mean share of items whose chosen answer differs between two formats.

    The mean is over all pairs of formats; 0 when every item gets the same answer in all of them.
    With one format there is no pair and nothing can flip.
    """
    pairs = list(itertools.combinations(chosen.T, 2))
    return float(np.mean([(a != b).mean() for a, b in pairs])) if pairs else 0.0


def worst_case(correct: NDArray[np.bool_]) -> float:
    """Return the share of items that are answered right in every format."""
    return float(correct.all(axis=1).mean())
