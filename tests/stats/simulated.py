"""Answers drawn from a known truth: what the statistics are held against."""

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

    An answer is right if a standard normal number is below the quantile of the accuracy; the number is the
    item's difficulty plus a part of the cell's own, and one of the item and the variant's group where given,
    so an item's answers are correlated, and more so within a group.
    """
    noise = difficulty * rng.normal(size=(items, 1)) + rng.normal(size=(items, len(accuracies)))
    variance = difficulty**2 + 1
    if groups is not None:
        noise = noise + 2 * rng.normal(size=(items, groups.max() + 1))[:, groups]
        variance += 4
    right: NDArray[np.bool_] = noise / np.sqrt(variance) < norm.ppf(accuracies)
    return right


def share(values: list[bool]) -> float:
    """Return how often something was so."""
    return float(np.mean(values))
