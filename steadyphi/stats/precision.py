"""How precise an evaluation of N items in T variants can be; `docs/statistics.md` has the figures.

All follow from the discordance: the share of items that one of two variants has right and the other wrong.
"""

from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from steadyphi.stats.components import expected_range


def discordance(correct: NDArray[np.bool_]) -> float:
    """Return the mean share of items right in one and wrong in the other of two variants, over all pairs.

    correct: (items, variants), at least two variants. An item that k of T have right counts 2k(T-k)/(T(T-1)).
    """
    variants = correct.shape[1]
    right = correct.sum(axis=1)
    return float((2 * right * (variants - right)).mean() / (variants * (variants - 1)))


def accuracy_error(accuracy: float, items: int) -> float:
    """Return the standard error of an accuracy, sqrt(p (1 - p) / N)."""
    return sqrt(accuracy * (1 - accuracy) / items)


def difference_error(discordance: float, items: int, difference: float = 0.0) -> float:
    """Return the standard error of a paired difference, sqrt((psi - d^2) / N).

    An item's difference is -1, 0 or 1; its square has the mean psi, the discordance.
    """
    return sqrt((discordance - difference**2) / items)


def detectable_difference(discordance: float, items: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the true difference that McNemar's two-sided test finds with this power.

    The d for which N d^2 = (z(1 - alpha/2) sqrt(psi) + z(power) sqrt(psi - d^2))^2 (Connor 1987,
    doi 10.2307/2531961, equation for N). With several tests, give the alpha of one, say 0.05 / 23.
    At most the discordance itself, when no fewer items than that would do: NaN then.
    """

    def lack(difference: float) -> float:
        needed = norm.isf(alpha / 2) * sqrt(discordance)
        needed += norm.isf(1 - power) * sqrt(max(0.0, discordance - difference**2))
        return float(needed - sqrt(items) * difference)

    return float(brentq(lack, 0.0, discordance)) if lack(discordance) < 0 else float("nan")


def noise_spread(discordance: float, items: int, variants: int) -> float:
    """Return the spread to expect of variants that are all equally good: d2(T) sqrt(psi / 2N).

    A difference between two accuracies has the variance psi / N, so each has psi / 2N beyond what they share;
    d2 is the expected range of T standard normal numbers.
    """
    return expected_range(variants) * sqrt(discordance / (2 * items))
