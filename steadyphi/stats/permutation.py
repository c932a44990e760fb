"""Answers permuted within their items: what is to be expected where the variant does not matter."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.bootstrap import DEFAULT, Resampling, Statistic
from steadyphi.stats.scorers import of_choice


def variants_differ(correct: NDArray[np.bool_], resampling: Resampling = DEFAULT) -> float:
    """Return the p-value of "an item's answers do not depend on the variant", correct (items, variants).

    If that were so, each item's row could as well stand in any other order. The statistic is the variance of
    the variants' accuracies; a permutation leaves row totals as they are, so it orders like Cochran's Q
    (Cochran 1950, doi 10.1093/biomet/37.3-4.256). The p-value is (b + 1) / (m + 1) for b of m permutations
    at least as extreme (Phipson & Smyth 2010, doi 10.2202/1544-6115.1585): never 0, and exact under the
    hypothesis.
    """
    mixed = correct[correct.any(axis=1) & ~correct.all(axis=1)].astype(np.int64)  # other rows stay the same
    rng, permutations = np.random.default_rng(resampling.seed), resampling.draws
    observed = _statistic(mixed)
    extreme = sum(_statistic(rng.permuted(mixed, axis=1)) >= observed for _ in range(permutations))
    return (extreme + 1) / (permutations + 1)


def without_preference(
    statistics: Mapping[str, Statistic],
    chosen: NDArray[np.int_],
    places: NDArray[np.int_],
    right_at: NDArray[np.int_],
    resampling: Resampling,
) -> dict[str, float]:
    """Return what measures of the options' places are on average for a model to which places mean nothing.

    Such a model gives an item's answers in any order over the variants with equal chance. So they are
    permuted within each item and put where the choice then stands; the mean over the permutations is the
    expectation, given each item's answers (randomization: Fisher 1935, The Design of Experiments). It is
    above 0 because a few answers do not fall evenly, and because a wrong choice that is preferred for what it
    says may stand unevenly; where each item gets a single answer it is what was observed.
    statistics: of `chosen_at` and `right_at`, (items, variants). chosen: alike, the indices of choices.
    places: (items, variants, K), where each choice is shown. The variants must differ in that alone.
    """
    rng = np.random.default_rng(resampling.seed)
    values: dict[str, list[float]] = {key: [] for key in statistics}
    for _ in range(resampling.draws):
        chosen_at = of_choice(places, rng.permuted(chosen, axis=1))
        for key, statistic in statistics.items():
            values[key].append(statistic({"chosen_at": chosen_at, "right_at": right_at}))
    return {key: float(np.mean(permuted)) for key, permuted in values.items()}


def _statistic(counted: NDArray[np.int64]) -> int:
    """Return the sum of squared column totals: whole numbers, so that ties are exact."""
    return int((counted.sum(axis=0) ** 2).sum())
