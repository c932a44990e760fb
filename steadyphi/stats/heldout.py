"""The best and the worst variant, tested again on items that had no part in choosing them.

The variant that does best on some items does so partly by luck (the winner's curse), so its accuracy there
is too high and that of the worst too low. On the other items there is no such luck.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.bootstrap import Resampling


@dataclass(frozen=True)
class Extremes:
    """Mean accuracy of the variants chosen as best and as worst, on items that had no part in it; 0 to 1."""

    best: float
    worst: float

    @property
    def spread(self) -> float:
        """Best less worst on held-out items: below the true spread on average, never above it."""
        return self.best - self.worst


def heldout_best(correct: NDArray[np.bool_], resampling: Resampling) -> float:
    """Return `Extremes.best`."""
    return best_and_worst(correct, seed=resampling.seed).best


def heldout_worst(correct: NDArray[np.bool_], resampling: Resampling) -> float:
    """Return `Extremes.worst`."""
    return best_and_worst(correct, seed=resampling.seed).worst


def heldout_spread(correct: NDArray[np.bool_], resampling: Resampling) -> float:
    """Return `Extremes.spread`."""
    return best_and_worst(correct, seed=resampling.seed).spread


def best_and_worst(correct: NDArray[np.bool_], splits: int = 50, seed: int = 0) -> Extremes:
    """Choose on one half of the items and test on the other, both ways, for `splits` random halvings.

    correct: (items, variants), at least two items. The figures are means over all 2 x splits choices. In
    expectation `best` is at most the best variant's true accuracy, for that of whatever was chosen is at most
    this (splitting the data: Cox 1975, doi 10.1093/biomet/62.2.441), and `worst` at least the worst's. Ties
    go to the first variant.
    """
    rng = np.random.default_rng(seed)
    items = len(correct)
    halves = []
    for _ in range(splits):
        order = rng.permutation(items)
        one, other = correct[order[: items // 2]].mean(axis=0), correct[order[items // 2 :]].mean(axis=0)
        halves += [(one, other), (other, one)]
    best, worst = (
        float(np.mean([tested[choose(own)] for own, tested in halves])) for choose in (np.argmax, np.argmin)
    )
    return Extremes(best, worst)
