"""The recommended prompt, its gain over the default, and the gain that a better choice could still have.

The recommended variant is the cheapest within one standard error of the best (the one-standard-error rule of
Breiman et al. 1984, Classification and Regression Trees, section 3.4.3). The default is kept unless variants
chosen by this rule are significantly better than it on items that were not used for the choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.bootstrap import Resampling, item_means
from steadyphi.stats.measures import Interval
from steadyphi.stats.paired import paired_difference

FOLDS = 5
EXACT = 1e-9  # values below this are rounding errors


@dataclass(frozen=True)
class Recommendation:
    """A recommended variant. The gain and the regret are differences in accuracy, 0 to 1.

    gain, low, high: the gain over the default, on items that were not used for the choice, with its interval.
    regret: with the given confidence, no variant is better than this one by more than this difference.
    chosen_on: the number of items that each tested choice was based on.
    tested_on: the number of items that the choices were tested on, over all folds.
    """

    variant: str
    gain: float
    low: float
    high: float
    regret: float
    chosen_on: int
    tested_on: int


def recommend(
    correct: NDArray[np.bool_],
    names: Sequence[str],
    default: str,
    resampling: Resampling,
    costs: Sequence[float] | None = None,
) -> Recommendation:
    """Choose a variant by `correct` (items, variants).

    The gain is cross-fitted: five times, a variant is chosen on four fifths of the items and compared with
    the default on the other fifth. The default is kept unless the interval of all these differences
    (`paired_difference`) lies above 0. The recommended variant is the choice on all items.

    The interval is given only where it lies above 0, and this selects those that are too high. It does not
    have its nominal coverage then: in simulations with 300 and 400 items at 95% it contained the true gain of
    the recommended variant in 80% to 95% where another variant is better, and where all are equally good it
    never does, because the true gain is 0. What holds is how seldom that happens: an equally good variant
    replaced the default in 2% to 7% of cases. The bound of the regret holds without a condition.
    names: of the variants, including the default.
    costs: the cost of each variant, for example the tokens of its prompt. Without costs, the most accurate
        variant is chosen.
    Raises SteadyPhiError for an unknown default, or if there are fewer items than folds.
    """
    if default not in names:
        raise SteadyPhiError(
            f"{default}: not among the {len(names)} variants; choose the default from these variants"
        )
    items = len(correct)
    if items < FOLDS:
        raise SteadyPhiError(f"{items} items are too few to recommend a prompt; use at least {FOLDS}")
    default_index = list(names).index(default)
    prices = np.zeros(len(names)) if costs is None else np.asarray(costs, dtype=float)
    gain = paired_difference(
        correct[:, default_index], _held_out(correct, prices, resampling.seed), resampling.confidence
    )
    picked = cheapest_of_the_best(correct, prices)
    if picked == default_index or gain.low <= 0:
        picked, gain = default_index, Interval(0.0, 0.0, 0.0)
    regret = regret_bound(correct, picked, resampling)
    chosen_on = items - -(-items // FOLDS)
    return Recommendation(names[picked], gain.value, gain.low, gain.high, regret, chosen_on, items)


def cheapest_of_the_best(correct: NDArray[np.bool_], costs: NDArray[np.float64]) -> int:
    """Return the cheapest column of `correct` (items, variants) within one standard error of the best.

    The standard error is that of the paired difference from the best. Of variants with equal costs the most
    accurate is chosen, and of those with equal accuracy the first.
    """
    accuracies = correct.mean(axis=0)
    best = int(accuracies.argmax())
    errors = (correct[:, [best]] ^ correct).mean(axis=0) - (accuracies[best] - accuracies) ** 2
    near = accuracies[best] - accuracies <= np.sqrt(errors / len(correct))
    return int(min(np.flatnonzero(near), key=lambda t: (costs[t], -accuracies[t], t)))


def _held_out(correct: NDArray[np.bool_], costs: NDArray[np.float64], seed: int) -> NDArray[np.bool_]:
    """Return, for each item, whether the variant chosen without this item answers it correctly."""
    folds = np.random.default_rng(seed).permutation(len(correct)) % FOLDS
    right = np.empty(len(correct), dtype=bool)
    for fold in range(FOLDS):
        pick = cheapest_of_the_best(correct[folds != fold], costs)
        right[folds == fold] = correct[folds == fold, pick]
    return right


def regret_bound(correct: NDArray[np.bool_], chosen: int, resampling: Resampling) -> float:
    """Return an upper bound of the difference between the truly best variant and the chosen one.

    It is the maximum over the variants of the observed difference from the chosen variant plus c standard
    errors of this difference. c is the quantile, over resampled items, of the largest error of any difference
    between two variants, in standard errors of that difference. Because it holds for all pairs at once, the
    bound holds for any chosen variant and any rule of choice, even one that uses the same items (Tukey's
    simultaneous comparisons, by bootstrap; Hsu 1996, Multiple Comparisons, chapter 5).
    """
    accuracies = correct.mean(axis=0)
    errors = item_means(correct, resampling) - accuracies
    largest = np.zeros(resampling.draws)
    for column in errors.T:
        gaps = errors - column[:, None]
        deviations = gaps.std(axis=0)
        constant = deviations < EXACT  # the same answers, for instance the variant itself
        largest = np.maximum(largest, (gaps / np.where(constant, 1.0, deviations)).max(axis=1))
    deviations = (errors - errors[:, [chosen]]).std(axis=0)
    bounds = accuracies - accuracies[chosen] + np.quantile(largest, resampling.confidence) * deviations
    return float(min(1.0, bounds.max()))
