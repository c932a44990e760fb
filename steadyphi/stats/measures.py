"""How much answers depend on the prompt, from what was chosen and whether it was right.

The arrays: `chosen`, an integer array (items, variants) of the choice that the model ranks first, and
`correct`, a boolean array of the same shape. All results are shares between 0 and 1 unless said
otherwise. With a single variant nothing can differ: spreads and rates of change are then 0.

What needs the probabilities of the choices stands in `agreement` and `calibration`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

QUANTILES = (5, 25, 50, 75, 95)  # percent of the variants


@dataclass(frozen=True)
class Interval:
    """A share with its confidence interval, all between 0 and 1."""

    value: float
    low: float
    high: float


def accuracy(correct: NDArray[np.bool_], confidence: float) -> list[Interval]:
    """Return each variant's share of right answers with its Wilson score interval.

    Wilson 1927, doi 10.1080/01621459.1927.10502953: unlike the normal approximation it stays within
    0 and 1 and keeps its coverage for small samples and shares near the ends.
    """
    intervals = []
    for column in correct.T:
        found = binomtest(int(column.sum()), len(column)).proportion_ci(confidence, method="wilson")
        intervals.append(Interval(float(column.mean()), float(found.low), float(found.high)))
    return intervals


def quantiles(accuracies: NDArray[np.float64]) -> dict[str, float]:
    """Return the `QUANTILES` of accuracy over variants, by percent.

    accuracies: (variants,), or (draws, variants) for the median over the draws.
    """
    per_draw = np.percentile(np.atleast_2d(accuracies), QUANTILES, axis=1)
    return {str(q): float(value) for q, value in zip(QUANTILES, np.median(per_draw, axis=1), strict=True)}


def spread(correct: NDArray[np.bool_]) -> float:
    """Return the best variant's accuracy less the worst's (Sclar et al. 2024, arXiv 2310.11324)."""
    shares = correct.mean(axis=0)
    return float(shares.max() - shares.min())


def best_accuracy(correct: NDArray[np.bool_]) -> float:
    """Return the accuracy of the best variant on these items."""
    return float(correct.mean(axis=0).max())


def worst_accuracy(correct: NDArray[np.bool_]) -> float:
    """Return the accuracy of the worst variant on these items."""
    return float(correct.mean(axis=0).min())


def mean_difference(correct: NDArray[np.bool_], default: NDArray[np.bool_]) -> float:
    """Return the mean accuracy of variants (items, variants) minus that of the default (items, 1)."""
    return float(correct.mean() - default.mean())


def pooled_share(right: NDArray[np.int_], asked: NDArray[np.int_]) -> float:
    """Return the share of right answers, from the counts of each item, arrays of one shape."""
    return float(right.sum() / asked.sum())


def changed_share(chosen: NDArray[np.int_], again: NDArray[np.int_]) -> float:
    """Return the share of answers that differ between two arrays of one shape."""
    return float((chosen != again).mean())


def worst_case(correct: NDArray[np.bool_]) -> float:
    """Return the share of items that are answered right in every variant.

    This is what a user gets whose prompt is the worst one for each question; `correct.mean()` is the
    mean case.
    """
    return float(correct.all(axis=1).mean())


def best_case(correct: NDArray[np.bool_]) -> float:
    """Return the share of items that are answered right in at least one variant.

    It grows with the number of variants even for a model that guesses: with K choices and T variants
    independent guesses reach 1 - (1 - 1/K)^T.
    """
    return float(correct.any(axis=1).mean())


def saturation(correct: NDArray[np.bool_]) -> float:
    """Return Sat = 1 - (MaxP - AvgP): how near the average variant comes to the best one.

    MaxP and AvgP are the largest and the mean accuracy over variants (Mizrahi et al. 2024,
    arXiv 2401.00595, the combined performance score's first factor).
    """
    shares = correct.mean(axis=0)
    return float(min(1.0, 1 - (shares.max() - shares.mean())))  # the mean of equal numbers may exceed them


def combined_performance_score(correct: NDArray[np.bool_]) -> float:
    """Return CPS = Sat * MaxP: high for a model that is both able and steady.

    Mizrahi et al. 2024, arXiv 2401.00595.
    """
    return saturation(correct) * float(correct.mean(axis=0).max())


def consistency(chosen: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return for each item the share of pairs of variants that agree on the answer, shape (items,).

    P_i = sum_k n_ik (n_ik - 1) / (T (T - 1)), where n_ik of the T variants choose k (Fleiss 1971,
    doi 10.1037/h0031619, eq. 2). 1 where there is a single variant.
    """
    variants = chosen.shape[1]
    if variants < 2:
        return np.ones(len(chosen))
    counts = (chosen[:, :, None] == np.arange(chosen.max() + 1)).sum(axis=1)
    agreeing: NDArray[np.float64] = (counts * (counts - 1)).sum(axis=1) / (variants * (variants - 1))
    return agreeing


def mean_consistency(chosen: NDArray[np.int_]) -> float:
    """Return `consistency` averaged over the items."""
    return float(consistency(chosen).mean())


def flip_rate(chosen: NDArray[np.int_]) -> float:
    """Return the mean share of items whose chosen answer differs between two variants.

    The mean is over all pairs of variants, so it is 1 less the mean `consistency`; 0 when every item
    gets the same answer in all of them. With one variant there is no pair and nothing can flip.
    """
    return float(1 - consistency(chosen).mean())


def mean_gap(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of |a - b| over all pairs of values along the last axis; 0 for a single value.

    Gini's mean difference. The r-th step between neighbours in sorted order lies within r (n - r) of the
    pairs, so no pair has to be formed, and equal values give exactly 0.
    """
    count = values.shape[-1]
    if count < 2:
        return np.zeros(values.shape[:-1])
    below = np.arange(1, count)
    steps = np.diff(np.sort(values, axis=-1), axis=-1)
    gaps: NDArray[np.float64] = (steps * (below * (count - below))).sum(axis=-1) / (count * (count - 1) / 2)
    return gaps


def prompt_sensi_score(scores: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    """Return PSS, the mean over items of the mean |Y(p_a) - Y(p_b)| over pairs of variants.

    scores: (items, variants), a quality between 0 and 1, or `correct`. Zhuo et al. 2024 (ProSA),
    arXiv 2410.12405: S_i = sum_{a<b} |Y(p_a) - Y(p_b)| / C(T, 2), PSS = sum_i S_i / N. It is read as a
    number between 0 and 1, but with more than two variants 1 is out of reach: see `prompt_sensi_score_limit`.
    """
    return float(mean_gap(scores.astype(np.float64)).mean())


def prompt_sensi_score_limit(correct: NDArray[np.bool_]) -> float:
    """Return the largest PSS with T variants, of `correct` (items, T): floor(T/2) ceil(T/2) / C(T, 2).

    It is reached when half of the variants score 1 and the other half 0 on every item: a pair differs
    only across the halves. 1 for two variants, 2/3 for three, 6/11 for the twelve of the paper, and 1/2
    in the limit; 0 for one variant.
    """
    variants = correct.shape[1]
    if variants < 2:
        return 0.0
    return (variants // 2) * ((variants + 1) // 2) / (variants * (variants - 1) / 2)


def performance_drop_rate(correct: NDArray[np.bool_]) -> float | None:
    """Return PDR = 1 - perturbed / clean: the part of an accuracy that a perturbation takes away.

    correct: (items, variants), the clean variant first, the others perturbed; `perturbed` is their mean
    accuracy. Zhu et al. 2023 (PromptBench), arXiv 2306.04528. Negative if the perturbation helps; None if
    no clean answer is right, because then nothing can drop.
    """
    shares = correct.mean(axis=0)
    clean, perturbed = float(shares[0]), float(shares[1:].mean())
    return 1 - perturbed / clean if clean > 0 else None


def length_ratio(lengths: NDArray[np.int_], reference: NDArray[np.int_]) -> float | None:
    """Return the mean length of generated answers over that of the reference's, both in tokens.

    Above 1 the first prompt makes the model talk more, as a newline after `Output:` may. The ratio of
    means, not the mean of ratios: an empty answer to one item does no harm. None where all of the
    reference's answers are empty.
    """
    return float(lengths.mean() / reference.mean()) if reference.any() else None
