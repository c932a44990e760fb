"""How many questions show a change: the power of comparing two runs on the same questions.

Before and after, the same T formats answer the same N questions. In each format, the answer to a question
changes by -1, 0 or 1. These numbers describe the answers, and are taken from a pilot or assumed:

    changed    the share of answers that differ between the runs although no accuracy changes
    shared     the correlation between the changes of a question in two formats
    differing  the share of questions that two formats of a run answer differently, one right and one wrong

The change of a question's mean over formats has the variance changed * (1 + (T - 1) * shared) / T, by the
design effect of clusters (Kish 1965, Survey Sampling, section 5.4).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.components import variance_components
from steadyphi.stats.precision import discordance, mcnemar_power, questions_needed


@dataclass(frozen=True)
class Design:
    """The accuracies of the formats before, in ascending order, and the numbers that the module explains."""

    accuracies: tuple[float, ...]
    changed: float
    shared: float
    differing: float

    @property
    def formats(self) -> int:
        """The number of formats."""
        return len(self.accuracies)

    def mean_square(self, change: float, formats: int) -> float:
        """Return the mean square of a question's change, for the mean over `formats` formats.

        change: the true change of the accuracy. `changed` is moved to what is possible with it: if an
        accuracy changes by 30 points, at least 30% of the answers do.
        """
        changed = min(max(self.changed, change - change**2), 1 - change**2)
        return changed * (1 + (formats - 1) * self.shared) / formats + change**2

    def resized(self, formats: int) -> "Design":
        """Return the design with another number of formats, whose accuracies are distributed alike."""
        shares = np.interp(np.linspace(0, 1, formats), np.linspace(0, 1, self.formats), self.accuracies)
        return replace(self, accuracies=tuple(map(float, shares)))


# phi-tiny's evaluations before and after the default run, in its 14 formats, rounded.
ASSUMED = Design(tuple(np.linspace(0.55, 0.75, 14).tolist()), changed=0.3, shared=0.3, differing=0.25)


def measured(before: NDArray[np.bool_], after: NDArray[np.bool_] | None = None) -> Design:
    """Return the design of a pilot's answers (questions, formats), of which there are at least two each.

    The accuracies are moved towards their mean until they vary as much as without noise (see
    `variance_components`). If there is only one run, the answers of two formats stand for those of two runs
    (`changed` is `differing`), and `shared` is that of `ASSUMED`.
    """
    shares = np.sort(before.mean(axis=0))
    components = variance_components(before)
    shape = components.corrected_spread / components.spread if components.spread else 0.0
    accuracies = tuple(map(float, shares.mean() + shape * (shares - shares.mean())))
    if after is None:
        differing = discordance(before)
        return Design(accuracies, differing, ASSUMED.shared, differing)
    covariance = np.cov(after.astype(float) - before, rowvar=False)
    changed, formats = float(covariance.trace()) / len(covariance), len(covariance)
    mean_covariance = (covariance.sum() - covariance.trace()) / (formats * (formats - 1))
    shared = float(np.clip(mean_covariance / changed, 0, 1)) if changed else 0.0
    return Design(accuracies, changed, shared, (discordance(before) + discordance(after)) / 2)


@dataclass(frozen=True)
class Test(ABC):
    """A comparison of two runs that is to show a change: the level of its test, and how often it shows it."""

    design: Design
    alpha: float
    power: float

    @abstractmethod
    def shows(self, change: float, questions: int) -> bool:
        """Return whether this number of questions shows a true change of this size often enough."""

    def needed(self, change: float) -> int | None:
        """Return the least number of questions that show this change; None if the change is not possible."""
        return _least(lambda questions: self.shows(change, questions), 1)

    def detectable(self, questions: int) -> float | None:
        """Return the smallest change that this number of questions shows; None if they show none below 1.

        It is a multiple of 0.001.
        """
        steps = _least(lambda step: step >= 1000 or self.shows(step / 1000, questions), 1)
        return steps / 1000 if steps < 1000 else None


class OfMean(Test):
    """The change of the mean accuracy over all formats, by the formula of `questions_needed`."""

    def shows(self, change: float, questions: int) -> bool:
        """Return whether this number of questions shows a true change of this size often enough."""
        mean_square = self.design.mean_square(change, self.design.formats)
        return questions >= questions_needed(mean_square, change, self.alpha, self.power)


class OfFormat(Test):
    """The change of a single format, by McNemar's exact test.

    For any of T formats, give alpha / T: Holm's first step.
    """

    def shows(self, change: float, questions: int) -> bool:
        """Return whether this number of questions shows a true change of this size often enough."""
        return mcnemar_power(self.design.mean_square(change, 1), change, questions, self.alpha) >= self.power


def _least(enough: Callable[[int], bool], low: int) -> int:
    """Return the least number from `low` on for which `enough` is true, if it is true of all larger ones."""
    high = low
    while not enough(high):
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
