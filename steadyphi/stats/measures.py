"""Measures of how much the answers depend on the prompt, from the chosen answers and their correctness.

`chosen` is an integer array (items, variants) of the choice that the model ranks first. `correct` is a
boolean array of the same shape. All results are shares between 0 and 1 unless stated otherwise. With a single
variant, spreads and rates of change are 0.

Measures that need the probabilities of the choices are in `agreement` and `calibration`.
"""

import numpy as np
from numpy.typing import NDArray

QUANTILES = (5, 25, 50, 75, 95)  # percent of the variants


def quantiles(accuracies: NDArray[np.float64]) -> dict[str, float]:
    """Return the `QUANTILES` of accuracy over variants, by percent.

    accuracies: (variants,), or (draws, variants) for the median over the draws.
    """
    per_draw = np.percentile(np.atleast_2d(accuracies), QUANTILES, axis=1)
    return {str(q): float(value) for q, value in zip(QUANTILES, np.median(per_draw, axis=1), strict=True)}


def spread(correct: NDArray[np.bool_]) -> float:
    """Return the accuracy of the best variant minus the worst (Sclar et al. 2024, arXiv 2310.11324)."""
    shares = correct.mean(axis=0)
    return float(shares.max() - shares.min())


def best_accuracy(correct: NDArray[np.bool_]) -> float:
    """Return the accuracy of the best variant on these items."""
    return float(correct.mean(axis=0).max())


def worst_accuracy(correct: NDArray[np.bool_]) -> float:
    """Return the accuracy of the worst variant on these items."""
    return float(correct.mean(axis=0).min())


def worst_quarter(correct: NDArray[np.bool_]) -> float:
    """Return the mean accuracy over the worst quarter of the variants on these items.

    It is the conditional value at risk at 25% (expected shortfall: Rockafellar & Uryasev 2000, doi
    10.21314/JOR.2000.038), over variants of equal weight. Of T variants, the worst ceil(T / 4) count.
    """
    shares = np.sort(correct.mean(axis=0))
    return float(shares[: quarter_of(len(shares))].mean())


def quarter_of(variants: int) -> int:
    """Return a quarter of the number of variants, rounded up."""
    return -(-variants // 4)


def mean_difference(correct: NDArray[np.bool_], default: NDArray[np.bool_]) -> float:
    """Return the mean accuracy of variants (items, variants) minus that of the default (items, 1)."""
    return float(correct.mean() - default.mean())


def pooled_share(right: NDArray[np.int_], asked: NDArray[np.int_]) -> float:
    """Return the share of right answers, from the numbers of right and of asked prompts of each item."""
    return float(right.sum() / asked.sum())


def changed_share(chosen: NDArray[np.int_], again: NDArray[np.int_]) -> float:
    """Return the share of answers that differ between two arrays of the same shape."""
    return float((chosen != again).mean())


def worst_case(correct: NDArray[np.bool_]) -> float:
    """Return the share of items that are answered right in every variant.

    It is the accuracy of a user whose prompt is the worst one for each question; `correct.mean()` is the mean
    case.
    """
    return float(correct.all(axis=1).mean())


def best_case(correct: NDArray[np.bool_]) -> float:
    """Return the share of items that are answered right in at least one variant.

    It increases with the number of variants even for a model that guesses: with K choices and T variants,
    independent guesses reach 1 - (1 - 1/K)^T.
    """
    return float(correct.any(axis=1).mean())


def saturation(correct: NDArray[np.bool_]) -> float:
    """Return Sat = 1 - (MaxP - AvgP): how close the average variant is to the best one.

    MaxP and AvgP are the largest and the mean accuracy over variants (Mizrahi et al. 2024,
    arXiv 2401.00595, the first factor of the combined performance score).
    """
    shares = correct.mean(axis=0)
    return float(min(1.0, 1 - (shares.max() - shares.mean())))  # rounding can give slightly more than 1


def combined_performance_score(correct: NDArray[np.bool_]) -> float:
    """Return CPS = Sat * MaxP: high for a model that is both accurate and steady.

    Mizrahi et al. 2024, arXiv 2401.00595.
    """
    return saturation(correct) * float(correct.mean(axis=0).max())


def consistency(chosen: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return for each item the share of pairs of variants that agree on the answer, shape (items,).

    P_i = sum_k n_ik (n_ik - 1) / (T (T - 1)), where n_ik of the T variants choose k (Fleiss 1971,
    doi 10.1037/h0031619, eq. 2). It is 1 if there is a single variant.
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

    The mean is over all pairs of variants, so it equals 1 minus the mean `consistency`. It is 0 if every item
    gets the same answer in all variants, and with a single variant.
    """
    return float(1 - consistency(chosen).mean())


def fleiss_kappa(chosen: NDArray[np.int_]) -> float:
    """Return Fleiss' kappa: the agreement of variants beyond that of answers drawn at random.

    kappa = (P - P_e) / (1 - P_e) with P the mean `consistency` and P_e the sum of squared shares of the
    choices among all answers (Fleiss 1971, doi 10.1037/h0031619, eq. 7). It is 1 if all variants agree on
    every item, also if all answers are the same choice, and 0 for answers that do not depend on the item.
    """
    shares = np.bincount(chosen.ravel()) / chosen.size
    expected = float((shares**2).sum())
    return 1.0 if expected == 1 else (mean_consistency(chosen) - expected) / (1 - expected)


def mean_gap(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of |a - b| over all pairs of values along the last axis; 0 for a single value.

    This is Gini's mean difference. The r-th step between neighbours in sorted order lies between the values
    of r (n - r) pairs, so the pairs need not be formed, and equal values give exactly 0.
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

    Zhuo et al. 2024 (ProSA), arXiv 2410.12405: S_i = sum_{a<b} |Y(p_a) - Y(p_b)| / C(T, 2),
    PSS = sum_i S_i / N. It is described as a number between 0 and 1, but with more than two variants it
    cannot reach 1: see `prompt_sensi_score_limit`.
    scores: (items, variants), a quality between 0 and 1, or `correct`.
    """
    return float(mean_gap(scores.astype(np.float64)).mean())


def prompt_sensi_score_limit(correct: NDArray[np.bool_]) -> float:
    """Return the largest possible PSS for `correct` (items, T): floor(T/2) ceil(T/2) / C(T, 2).

    It is reached if half of the variants score 1 and the other half 0 on every item, because only pairs
    across the halves differ. It is 1 for two variants, 2/3 for three, 6/11 for the twelve of the paper, 1/2
    in the limit, and 0 for one variant.
    """
    variants = correct.shape[1]
    if variants < 2:
        return 0.0
    return (variants // 2) * ((variants + 1) // 2) / (variants * (variants - 1) / 2)


def performance_drop_rate(correct: NDArray[np.bool_], default: NDArray[np.bool_]) -> float:
    """Return PDR = 1 - perturbed / clean: the relative loss of accuracy by perturbations.

    Zhu et al. 2023 (PromptBench), arXiv 2306.04528. It is negative if the perturbation helps, and NaN if no
    clean answer is right, because then accuracy cannot drop.
    correct: (items, variants), of the perturbed variants; `perturbed` is their mean accuracy.
    default: (items, 1), of the clean variant.
    """
    return 1 - float(correct.mean() / default.mean()) if default.any() else float("nan")


def length_ratio(lengths: NDArray[np.int_], reference: NDArray[np.int_]) -> float:
    """Return the mean length of generated answers divided by that of the reference, both in tokens.

    Above 1, the first prompt makes the answers longer, as a newline after `Output:` may. It is the ratio of
    means, not the mean of ratios, so that single empty answers are no problem. NaN if all answers of the
    reference are empty.
    """
    return float(lengths.mean() / reference.mean()) if reference.any() else float("nan")
