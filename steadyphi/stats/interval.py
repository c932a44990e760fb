"""Confidence intervals of shares and means by formula; `bootstrap` computes those of other measures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t, ttest_1samp


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its confidence interval."""

    value: float
    low: float
    high: float


def accuracy(correct: NDArray[np.bool_], confidence: float) -> list[Interval]:
    """Return the share of right answers of each variant with its Wilson score interval.

    Wilson 1927, doi 10.1080/01621459.1927.10502953. Unlike the normal approximation, the interval stays
    within 0 and 1 and keeps its coverage for small samples and for shares near 0 or 1.
    """
    items, z = len(correct), norm.isf((1 - confidence) / 2)
    shares = correct.mean(axis=0)
    middle = (shares + z**2 / (2 * items)) / (1 + z**2 / items)
    half = z * np.sqrt(shares * (1 - shares) / items + z**2 / (4 * items**2)) / (1 + z**2 / items)
    low, high = np.where(shares > 0, middle - half, 0), np.where(shares < 1, middle + half, 1)
    return [Interval(*map(float, ends)) for ends in zip(shares, low, high, strict=True)]


def mean_interval(values: NDArray[np.float64], confidence: float) -> Interval:
    """Return the mean of `values` (items,) with its interval, mean +- t s / sqrt(N) (Student 1908).

    It is as good for items drawn at random as the bootstrap, and better for few: benchmarks/coverage.py. The
    ends are NaN for a single item.
    """
    items, mean = len(values), float(values.mean())
    if items < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(t.isf((1 - confidence) / 2, items - 1) * values.std(ddof=1) / np.sqrt(items))
    return Interval(mean, mean - half, mean + half)


def mean_p_value(values: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of a true mean of 0 by Student's test, which agrees with `mean_interval`.

    It is 1 if all values are 0, and NaN for a single item.
    """
    if len(values) < 2:
        return float("nan")
    if not values.any():
        return 1.0
    return float(ttest_1samp(values, 0.0).pvalue) if np.ptp(values) > 0 else 0.0
