"""Calibration of a model's confidence, and its preference for positions of the listed options.

Positions are integer arrays (items, variants) with the place where a choice is shown, counted from 0. All
results are shares between 0 and 1, not points.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the ECE: the mean gap between the probability of the chosen answer and its accuracy.

    ECE = sum_m |B_m|/n |acc(B_m) - conf(B_m)| over bins of equal width, where B_m holds the answers with
    confidence in ((m-1)/M, m/M], and the first bin also holds 0 (Guo et al. 2017, arXiv 1706.04599, eq. 3,
    with their 15 bins).
    confidence: any shape, between 0 and 1. correct: the same shape. The result is one number for the whole
    array; for a single variant, pass its column. It is biased upwards if bins hold few answers.
    """
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.searchsorted(edges[1:-1], confidence.ravel(), side="left")
    gaps = np.bincount(bin_of, weights=correct.ravel() - confidence.ravel(), minlength=bins)
    return float(np.abs(gaps).sum() / confidence.size)


def position_shares(positions: Ints, options: int) -> Floats:
    """Return the share of each of the `options` positions in the array, shape (options,)."""
    return np.bincount(positions.ravel(), minlength=options) / positions.size


def position_bias(chosen_at: Ints, right_at: Ints) -> float:
    """Return the distance between the shares of the chosen positions and those of the right answers.

    It is the total variation distance, 1/2 sum_k |share chosen_k - share right_k|: the smallest share of
    answers that would have to move to another position to make the shares equal. The chosen positions are
    compared with the right answers, not with uniform shares, so that an uneven answer key does not count as a
    bias.
    """
    options = int(max(chosen_at.max(), right_at.max())) + 1
    gaps = position_shares(chosen_at, options) - position_shares(right_at, options)
    return float(np.abs(gaps).sum() / 2)


def position_recalls(chosen_at: Ints, right_at: Ints, options: int) -> Floats:
    """Return how often the right answer is chosen when it is shown at each position, shape (options,).

    NaN for positions where it is never shown.
    """
    shown = np.bincount(right_at.ravel(), minlength=options)
    right = np.bincount(right_at[chosen_at == right_at], minlength=options)
    return np.divide(right, shown, out=np.full(options, np.nan), where=shown > 0)


def recall_deviation(chosen_at: Ints, right_at: Ints) -> float:
    """Return RStd, the standard deviation of the recalls of the option positions.

    Zheng et al. 2024, arXiv 2309.03882. It is 0 for a model that finds the right answer equally often at
    every position, even if the answer key is uneven, and at most 1/2. It is the population standard deviation
    (divided by the number of positions), over the positions where a right answer is shown at least once.
    """
    options = int(right_at.max()) + 1
    return float(np.nanstd(position_recalls(chosen_at, right_at, options)))
