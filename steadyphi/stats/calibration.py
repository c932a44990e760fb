"""Whether a model knows what it knows, and whether it prefers a place among the options.

Positions are where choices are shown, 0 the first: (items, variants) integer arrays. For shares between
0 and 1 these return shares, not points.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Return ECE: how far the probability of the chosen answer is from how often it is right.

    ECE = sum_m |B_m|/n |acc(B_m) - conf(B_m)| over bins of equal width, B_m holding the answers of
    confidence in ((m-1)/M, m/M], the first one 0 too (Guo et al. 2017, arXiv 1706.04599, eq. 3, with
    their 15 bins).
    confidence: any shape, between 0 and 1; correct: the same shape. One number for all of it, so give one
    column for one variant. Biased upwards where bins hold few answers.
    """
    edges = np.linspace(0, 1, bins + 1)
    which = np.searchsorted(edges[1:-1], confidence.ravel(), side="left")
    gaps = np.bincount(which, weights=correct.ravel() - confidence.ravel(), minlength=bins)
    return float(np.abs(gaps).sum() / confidence.size)


def position_shares(positions: Ints, options: int) -> Floats:
    """Return the share that each of `options` positions has in the array, shape (options,)."""
    return np.bincount(positions.ravel(), minlength=options) / positions.size


def position_bias(chosen_at: Ints, right_at: Ints) -> float:
    """Return how far the chosen positions' shares are from those of the right answers.

    Their total variation distance, 1/2 sum_k |share chosen_k - share right_k|: the least share of answers
    that would have to move to another position for a model that favours none. Compared with the right
    answers, not with uniform shares, so that an uneven key is not taken for a bias of the model.
    """
    options = int(max(chosen_at.max(), right_at.max())) + 1
    gaps = position_shares(chosen_at, options) - position_shares(right_at, options)
    return float(np.abs(gaps).sum() / 2)


def position_recalls(chosen_at: Ints, right_at: Ints, options: int) -> Floats:
    """Return how often the right answer is chosen when it stands at each position, shape (options,).

    NaN where it never does.
    """
    of = np.bincount(right_at.ravel(), minlength=options)
    right = np.bincount(right_at[chosen_at == right_at], minlength=options)
    return np.divide(right, of, out=np.full(options, np.nan), where=of > 0)


def recall_deviation(chosen_at: Ints, right_at: Ints) -> float:
    """Return RStd, the standard deviation of the recalls of the option positions.

    Zheng et al. 2024, arXiv 2309.03882: 0 for a model that finds the right answer equally often wherever it
    stands, so an uneven key does no harm; at most 1/2. The population's deviation (divided by the
    number of positions), over the positions that hold a right answer at least once.
    """
    options = int(right_at.max()) + 1
    return float(np.nanstd(position_recalls(chosen_at, right_at, options)))
