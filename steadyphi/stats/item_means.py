"""The value of each item in the measures that are means over items, or have the error of one.

The interval and the test of the mean of these values are those of the measure.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats import measures


def kappa_values(chosen: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return Fleiss' kappa plus the influence of each item, (items,): numbers whose mean is kappa.

    The influence is the derivative of kappa by the item's weight. So the interval of the mean of these
    numbers is that of kappa by the delta method (Gwet 2021, doi 10.1177/0013164420973080).
    """
    kappa = measures.fleiss_kappa(chosen)
    of_items = (chosen[:, :, None] == np.arange(chosen.max() + 1)).mean(axis=1)
    shares = of_items.mean(axis=0)
    chance = 1 - float((shares**2).sum())
    if chance <= 0:
        return np.full(len(chosen), kappa)
    agreement = measures.consistency(chosen)
    by_chance = 2 * (of_items - shares) @ shares
    values: NDArray[np.float64] = (agreement - agreement.mean() - (1 - kappa) * by_chance) / chance + kappa
    return values


def drop_values(correct: NDArray[np.bool_], default: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return PDR plus the influence of each item, (items,): numbers whose mean is PDR, as in `kappa_values`.

    The influence is that on a ratio of means (Cochran 1977, Sampling Techniques, section 6.3).
    """
    drop = measures.performance_drop_rate(correct, default)
    if not np.isfinite(drop):
        return np.full(len(correct), drop)
    values: NDArray[np.float64] = ((1 - drop) * default[:, 0] - correct.mean(axis=1)) / default.mean() + drop
    return values


def share_values(right: NDArray[np.int_], asked: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return `pooled_share` plus the influence of each item, (items,), as in `drop_values`."""
    share = measures.pooled_share(right, asked)
    values: NDArray[np.float64] = (right[:, 0] - share * asked[:, 0]) / asked.mean() + share
    return values


# By the function of a measure, the function that returns the value of each item, (items,).
ITEM_MEANS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    np.mean: lambda values: values.mean(axis=1),
    measures.worst_case: lambda correct: correct.all(axis=1),
    measures.best_case: lambda correct: correct.any(axis=1),
    measures.mean_difference: lambda correct, default: correct.mean(axis=1) - default[:, 0],
    measures.mean_consistency: measures.consistency,
    measures.flip_rate: lambda chosen: 1 - measures.consistency(chosen),
    measures.fleiss_kappa: kappa_values,
    measures.performance_drop_rate: drop_values,
    measures.pooled_share: share_values,
    measures.prompt_sensi_score: lambda scores: measures.mean_gap(scores.astype(np.float64)),
}
