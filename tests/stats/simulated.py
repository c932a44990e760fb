"""Answers simulated with known accuracies, to test the statistics."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


def simulated(
    accuracies: NDArray[np.float64],
    items: int,
    rng: np.random.Generator,
    difficulty: float = 2.0,
    groups: NDArray[np.int_] | None = None,
) -> NDArray[np.bool_]:
    """Return `correct` (items, variants) whose columns are right with exactly these probabilities.

    An answer is right if a standard normal number is below the quantile of the accuracy. The number is the
    sum of the item's difficulty, a term of the cell and, if groups are given, a term of the item and the
    variant's group. The answers to an item are therefore correlated, more so within a group.
    """
    noise = difficulty * rng.normal(size=(items, 1)) + rng.normal(size=(items, len(accuracies)))
    variance = difficulty**2 + 1
    if groups is not None:
        noise = noise + 2 * rng.normal(size=(items, groups.max() + 1))[:, groups]
        variance += 4
    right: NDArray[np.bool_] = noise / np.sqrt(variance) < norm.ppf(accuracies)
    return right


def share(values: list[bool]) -> float:
    """Return the share of true values."""
    return float(np.mean(values))
