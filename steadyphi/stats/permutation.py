"""Permutation of answers within items: the expected values if the variant has no effect."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.bootstrap import DEFAULT, Resampling, Statistic
from steadyphi.stats.scorers import of_choice


def variants_differ(correct: NDArray[np.bool_], resampling: Resampling = DEFAULT) -> float:
    """Return the p-value of the hypothesis that the answers to an item do not depend on the variant.

    Under the hypothesis, all orders of the answers in a row of `correct` (items, variants) are equally
    likely. The statistic is the variance of the accuracies of the variants. Permutations keep the row totals,
    so the statistic has the same order as Cochran's Q (Cochran 1950, doi 10.1093/biomet/37.3-4.256). The
    p-value is (b + 1) / (m + 1) if b of m permutations are at least as extreme (Phipson & Smyth 2010, doi
    10.2202/1544-6115.1585). It is never 0, and exact under the hypothesis.
    """
    mixed = correct[correct.any(axis=1) & ~correct.all(axis=1)].astype(np.int64)  # other rows do not change
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
    """Return the expected measures of option positions for a model that ignores positions.

    For such a model, all orders of an item's answers over the variants are equally likely. The answers are
    therefore permuted within each item, and each is placed at the position of its choice in the new variant.
    The mean over the permutations is the expectation given the answers of each item (randomization: Fisher
    1935, The Design of Experiments). It is above 0 because few answers are not distributed evenly, and
    because the positions of a wrong choice that is preferred for its content may be uneven. If each item has
    a single answer, it equals the observed value.
    statistics: functions of `chosen_at` and `right_at`, (items, variants).
    chosen: (items, variants), the indices of the chosen choices.
    places: (items, variants, K), the position of each choice. The variants must differ only in the positions.
    """
    rng = np.random.default_rng(resampling.seed)
    values: dict[str, list[float]] = {key: [] for key in statistics}
    for _ in range(resampling.draws):
        chosen_at = of_choice(places, rng.permuted(chosen, axis=1))
        for key, statistic in statistics.items():
            values[key].append(statistic({"chosen_at": chosen_at, "right_at": right_at}))
    return {key: float(np.mean(permuted)) for key, permuted in values.items()}


def _statistic(counted: NDArray[np.int64]) -> int:
    """Return the sum of squared column totals, as an integer, so that ties are exact."""
    return int((counted.sum(axis=0) ** 2).sum())
