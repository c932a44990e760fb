"""The recommended prompt, its gain over the default, and the gain that a better choice could still have.

The recommended variant is the cheapest within one standard error of the best (the one-standard-error rule of
Breiman et al. 1984, Classification and Regression Trees, section 3.4.3). The default is kept unless variants
chosen by this rule are significantly better than it on items that were not used for the choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr
from scipy.stats import norm

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.bootstrap import Resampling, item_means, tails
from steadyphi.stats.interval import Interval
from steadyphi.stats.paired import paired_difference

FOLDS = 5
EXACT = 1e-9  # values below this are rounding errors


@dataclass(frozen=True)
class Recommendation:
    """A recommended variant. The gain and the regret are differences in accuracy, 0 to 1.

    gain, low, high: the gain over the default, on items that were not used for the choice, with its interval,
        which allows for the fact that only a significant gain is recommended, and may therefore contain 0.
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

    Gains that are recommended are those that are large enough, so they are too large on average, and the
    interval of a difference would not have its nominal coverage. `selected_interval` has, for the variants
    chosen on four fifths. The one chosen on all items may be better, so the interval contains that of its
    difference on all items as well. docs/statistics.md says how often it holds. The bound of the regret holds
    without a condition.
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
    else:
        selected = selected_interval(gain, resampling.confidence)
        seen = paired_difference(correct[:, default_index], correct[:, picked], resampling.confidence)
        gain = Interval(gain.value, min(selected.low, seen.low), max(selected.high, seen.high))
    regret = regret_bound(correct, picked, resampling)
    chosen_on = items - -(-items // FOLDS)
    return Recommendation(names[picked], gain.value, gain.low, gain.high, regret, chosen_on, items)


def selected_interval(gain: Interval, confidence: float) -> Interval:
    """Return the interval of a difference that is only looked at where its plain interval lies above 0.

    Given this condition, the difference has a normal distribution cut off at the threshold of significance.
    The ends are the true differences for which a value as large, or as small, has the probability alpha / 2
    under the condition (Zhong & Prentice 2008, doi 10.1093/biostatistics/kxn001). A difference just above the
    threshold gets a very wide interval, and one far above it nearly the plain one.
    gain: with its plain interval, above 0, at this confidence.
    """
    threshold = gain.value - gain.low
    deviation = threshold / norm.isf((1 - confidence) / 2)

    def excess(true: float, share: float) -> float:
        """Return by how much the logarithm of the probability of a larger value exceeds that of `share`."""
        above = log_ndtr((true - np.array([gain.value, threshold])) / deviation)
        return float(above[0] - above[1] - np.log(share))

    low, high = (
        -1.0
        if excess(-1, share) > 0
        else 1.0
        if excess(1, share) < 0
        else float(brentq(excess, -1, 1, share))
        for share in tails(confidence)
    )
    return Interval(gain.value, low, high)


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
