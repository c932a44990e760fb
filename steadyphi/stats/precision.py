"""The precision of an evaluation of N items in T variants; `docs/statistics.md` has the numbers.

All of them follow from the discordance: the share of items that one of two variants has right and the other
wrong.
"""

from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from steadyphi.stats.components import expected_range


def discordance(correct: NDArray[np.bool_]) -> float:
    """Return the mean share, over all pairs of variants, of items that are right in exactly one of them.

    correct: (items, variants), at least two variants. An item that is right in k of T variants contributes
        2k(T-k)/(T(T-1)).
    """
    variants = correct.shape[1]
    right = correct.sum(axis=1)
    return float((2 * right * (variants - right)).mean() / (variants * (variants - 1)))


def accuracy_error(accuracy: float, items: int) -> float:
    """Return the standard error of an accuracy, sqrt(p (1 - p) / N)."""
    return sqrt(accuracy * (1 - accuracy) / items)


def difference_error(discordance: float, items: int, difference: float = 0.0) -> float:
    """Return the standard error of a paired difference, sqrt((psi - d^2) / N).

    The difference of an item is -1, 0 or 1. The mean of its square is psi, the discordance.
    """
    return sqrt((discordance - difference**2) / items)


def detectable_difference(discordance: float, items: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the true difference that McNemar's two-sided test detects with this power.

    It is the d for which N d^2 = (z(1 - alpha/2) sqrt(psi) + z(power) sqrt(psi - d^2))^2 (Connor 1987,
    doi 10.2307/2531961, equation for N). For several tests, give the alpha of a single one, such as
    0.05 / 23. The difference cannot exceed the discordance. NaN if even that difference needs more items.
    """

    def lack(difference: float) -> float:
        needed = norm.isf(alpha / 2) * sqrt(discordance)
        needed += norm.isf(1 - power) * sqrt(max(0.0, discordance - difference**2))
        return float(needed - sqrt(items) * difference)

    return float(brentq(lack, 0.0, discordance)) if lack(discordance) < 0 else float("nan")


def noise_spread(discordance: float, items: int, variants: int) -> float:
    """Return the expected spread of variants that are all equally good: d2(T) sqrt(psi / 2N).

    The difference between two accuracies has the variance psi / N, so each accuracy has the variance psi / 2N
    in addition to the shared part. d2 is the expected range of T standard normal numbers.
    """
    return expected_range(variants) * sqrt(discordance / (2 * items))
