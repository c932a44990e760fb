"""The precision of an evaluation of N items in T variants; `docs/statistics.md` has the numbers.

All of them follow from the discordance: the share of items that one of two variants has right and the other
wrong.
"""

from math import ceil, floor, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, norm

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
        return _deviations(discordance, difference, alpha, power) - sqrt(items) * difference

    return float(brentq(lack, 0.0, discordance)) if lack(discordance) < 0 else float("nan")


def questions_needed(mean_square: float, difference: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return the least number of items for which a paired test detects a true difference with this power.

    mean_square: the mean square of one item's difference; the discordance, if it is -1, 0 or 1.
    This is the formula of `detectable_difference`, solved for N.
    """
    return ceil((_deviations(mean_square, difference, alpha, power) / difference) ** 2)


def mcnemar_power(discordance: float, difference: float, items: int, alpha: float = 0.05) -> float:
    """Return the probability that McNemar's exact test rejects with p <= alpha (`paired.mcnemar`).

    The number m of discordant items is binomial. Given m, the number that the better variant has right is
    binomial with the chance (1 + difference / discordance) / 2 (Connor 1987, doi 10.2307/2531961, section 2).
    """
    center, deviation = items * discordance, sqrt(items * discordance * (1 - discordance))
    m = np.arange(max(1, floor(center - 8 * deviation)), min(items, ceil(center + 8 * deviation)) + 1)
    # The largest number of losses that is significant; -1 if none is.
    lost = binom.ppf(alpha / 2, m, 0.5) - 1
    lost += binom.cdf(lost + 1, m, 0.5) <= alpha / 2
    chance = (1 + difference / discordance) / 2
    rejected = binom.cdf(lost, m, 1 - chance) + binom.cdf(lost, m, chance)
    return float(binom.pmf(m, items, discordance) @ rejected)


def _deviations(mean_square: float, difference: float, alpha: float, power: float) -> float:
    """Return how large sqrt(N) d must be: the standard errors of both hypotheses, times their quantiles."""
    under_equality = norm.isf(alpha / 2) * sqrt(mean_square)
    return float(under_equality + norm.isf(1 - power) * sqrt(max(0.0, mean_square - difference**2)))


def noise_spread(discordance: float, items: int, variants: int) -> float:
    """Return the expected spread of variants that are all equally good: d2(T) sqrt(psi / 2N).

    The difference between two accuracies has the variance psi / N, so each accuracy has the variance psi / 2N
    in addition to the shared part. d2 is the expected range of T standard normal numbers.
    """
    return expected_range(variants) * sqrt(discordance / (2 * items))
