"""The accuracy of the best and the worst variant on held-out items, which were not used to choose them.

The variant with the best accuracy on some items was partly lucky (the winner's curse), so this accuracy is
too high, and that of the worst variant too low. Held-out items do not have this bias.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.bootstrap import Resampling


@dataclass(frozen=True)
class Extremes:
    """Mean accuracy on held-out items of the variants chosen as best and as worst, 0 to 1."""

    best: float
    worst: float

    @property
    def spread(self) -> float:
        """Best minus worst on held-out items; its expectation is at most the true spread."""
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
    """Choose on one half of the items and test on the other, and vice versa, for `splits` random splits.

    correct: (items, variants), at least two items. The results are means over all 2 x splits choices. The
    expectation of `best` is at most the true accuracy of the best variant, because no variant that may be
    chosen has a higher one (splitting the data: Cox 1975, doi 10.1093/biomet/62.2.441); that of `worst` is at
    least the true accuracy of the worst variant. Ties go to the first variant.
    """
    rng = np.random.default_rng(seed)
    items = len(correct)
    halves = []
    for _ in range(splits):
        order = rng.permutation(items)
        first, second = correct[order[: items // 2]].mean(axis=0), correct[order[items // 2 :]].mean(axis=0)
        halves += [(first, second), (second, first)]
    best, worst = (
        float(np.mean([tested[choose(seen)] for seen, tested in halves])) for choose in (np.argmax, np.argmin)
    )
    return Extremes(best, worst)
