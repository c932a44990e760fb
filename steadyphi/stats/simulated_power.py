"""How many questions show a change of a measure that depends on the worst formats, by simulation.

Such a measure has no formula, because its interval also covers that formats may tie (`extremes`). Two runs
are simulated with the numbers of a `Design`, again and again, and compared as a report does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, log10, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import owens_t
from scipy.stats import norm

from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.changes import tested_change
from steadyphi.stats.estimate import Measure
from steadyphi.stats.planning import Design, Test

REPLICATES = 200
DRAWS = 200  # resamples of each interval
# Simulated questions, and answers of a run; beyond, errors are in proportion to 1 / sqrt(questions).
LEAST, MOST, ANSWERS = 20, 1000, 200_000
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def correlation(discordance: float, accuracy: float) -> float:
    """Return the correlation, at least 0, of two normal numbers for this discordance of two answers.

    An answer is right if its number is below the quantile of the accuracy. Exactly one of two is below with
    the probability 4 T(k, sqrt((1 - r) / (1 + r))), with Owen's function T (Owen 1956, doi
    10.1214/aoms/1177728074, eq. 2.1 for equal bounds).
    """
    bound = norm.ppf(accuracy)

    def excess(r: float) -> float:
        return float(4 * owens_t(bound, np.sqrt((1 - r) / (1 + r))) - discordance)

    return float(brentq(excess, 0.0, 1.0)) if excess(0.0) > 0 else 0.0


def draw_runs(design: Design, after: Floats, questions: int, rng: np.random.Generator) -> tuple[Bools, Bools]:
    """Return simulated answers (questions, formats) before and after; `after` are the accuracies then.

    The number of an answer is a sum of normal terms of the question, of the question and the run, of the
    question and the format, and of the answer alone. Their variances follow from the design's discordances.
    """
    before = np.array(design.accuracies)
    middle = float(np.clip(before.mean(), 0.02, 0.98))
    run = correlation(design.differing, middle)
    same = correlation(design.changed, middle)
    question = min(correlation(design.differing + design.changed * design.shared, middle), run, same)
    parts = np.sqrt(np.maximum([question, run - question, same - question, 1 - run - same + question], 0))
    parts /= np.sqrt((parts**2).sum())
    formats = len(before)
    shapes = ((questions, 1, 1), (questions, 2, 1), (questions, 1, formats), (questions, 2, formats))
    number = sum(part * rng.normal(size=shape) for part, shape in zip(parts, shapes, strict=True))
    right = number < norm.ppf(np.stack([before, after]))
    return right[:, 0], right[:, 1]


@dataclass(frozen=True)
class OfExtreme(Test):
    """The change of a measure of `extremes.FROM_ENDS`, by its interval.

    In the simulated runs the measure gets worse: the worst format loses most, the best nothing, and those
    between in proportion to their rank. `compared` is called after each simulated comparison.
    """

    measure: Measure
    compared: Callable[[], object] = lambda: None

    def shows(self, change: float, questions: int) -> bool:
        """Return whether this number of questions shows a true change of this size often enough."""
        margins = self._margins(change, questions)
        return len(margins) > 0 and self._shown(margins) <= change * sqrt(questions)

    def needed(self, change: float) -> int | None:
        """Return about how many questions show this change; None if the worst format has less to lose.

        It is simulated with 400 questions, then with the number that follows, and rounded up to two digits,
        because the simulation knows no more.
        """
        margins = self._margins(change, 400)
        if not len(margins):
            return None
        again = self._margins(change, ceil((self._shown(margins) / change) ** 2))
        questions = max(1, ceil((self._shown(np.r_[margins, again]) / change) ** 2))
        digit = 10 ** max(0, floor(log10(questions)) - 1)
        return ceil(questions / digit) * digit

    def detectable(self, questions: int) -> float | None:
        """Return about which change this number of questions shows; None as in `needed`.

        It is simulated with a change of 5 points, then with the one that follows.
        """
        margins = self._margins(0.05, questions)
        again = self._margins(self._shown(margins) / sqrt(questions), questions) if len(margins) else margins
        return self._shown(np.r_[margins, again]) / sqrt(questions) if len(again) else None

    def _shown(self, margins: Floats) -> float:
        """Return the change, times the square root of the number of questions, that is shown often enough."""
        return float(np.quantile(margins, self.power))

    def _margins(self, change: float, questions: int) -> Floats:
        """Return `_margin` times the square root of the number of questions in each replicate.

        Errors are in proportion to its inverse. Empty if the worst format has less to lose than the change.
        """
        after = self.after(change)
        if after is None:
            return np.empty(0)
        count = int(np.clip(questions, LEAST, min(MOST, ANSWERS // self.design.formats)))
        margins = []
        for n in range(REPLICATES):
            runs = draw_runs(
                self.design, after, count, np.random.default_rng([n, count, round(1e6 * change)])
            )
            margins.append(self._margin(change, *runs, n))
            self.compared()
        return np.array(margins) * sqrt(count)

    def _margin(self, change: float, before: Bools, after: Bools, seed: int) -> float:
        """Return by how much the true change exceeds the end of the interval that is nearer to 0.

        The interval shows a change if this margin is below the change.
        """
        resampling = Resampling(1 - self.alpha, DRAWS, seed)
        shown = tested_change(self.measure, {"correct": before}, {"correct": after}, resampling)
        return change - (shown.low if self.measure.worse > 0 else -shown.high)

    def after(self, change: float) -> Floats | None:
        """Return the accuracies when the measure is worse by `change`; None if one would be below 0."""
        before = np.array(self.design.accuracies)
        loss = np.linspace(1, 0, len(before))
        value = self.measure.function
        size = abs(value((before - loss)[None]) - value(before[None]))
        after: Floats = before - loss * change / size
        return after if after.min() > 0 else None
