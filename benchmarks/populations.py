"""Populations of questions with known accuracies before and after, from which evaluations are sampled.

A population is answered by a model before and after. An answer is right if the difficulty of its question
plus noise is below a threshold, so the answers to a question are correlated. Accuracies of the T formats:

    no effect         all 60%
    spread out        45% to 75%, evenly
    two clusters      half 45%, half 75%: the same spread
    one outlier       all 65% but one, 40%
    becomes clusters  spread out before, two clusters after: mean, best, worst and spread stay
    becomes spread    the same backwards
    uneven clusters   spread out before; after, three quarters of the formats below the mean and a quarter
                      above: mean and sigma stay, the best stays about, the worst quarter gets better
    stored run        the questions of a default run, drawn with replacement
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from steadyphi.results.cells import asked_in_all, cells
from steadyphi.results.stored import read

Shares = NDArray[np.float64]
Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """before, after: the true accuracies of the formats. questions: all questions with their answers, both
    runs side by side, to be drawn with replacement; None for simulated answers.
    """

    before: Shares
    after: Shares
    questions: Correct | None = None

    def draw(self, items: int, rng: np.random.Generator) -> tuple[Correct, Correct]:
        """Return the answers (items, formats) before and after."""
        both = np.r_[self.before, self.after]
        if self.questions is not None:
            right = self.questions[rng.integers(len(self.questions), size=items)]
        else:
            noise = 2 * rng.normal(size=(items, 1)) + rng.normal(size=(items, len(both)))
            right = noise / 5**0.5 < norm.ppf(both)
        return right[:, : len(self.before)], right[:, len(self.before) :]


def populations(formats: int, real: Population | None = None) -> dict[str, Population]:
    """Return the populations by name. real: the stored run, of which the first formats are taken."""
    line = np.linspace(-1, 1, formats)
    out, clusters = 0.6 + 0.15 * line, np.where(np.arange(formats) < formats // 2, 0.45, 0.75)
    flat, outlier = np.full(formats, 0.6), np.r_[np.full(formats - 1, 0.65), 0.4]
    known = {
        "no effect": Population(flat, flat),
        "spread out": Population(out, out),
        "two clusters": Population(clusters, clusters),
        "one outlier": Population(outlier, outlier),
        "becomes clusters": Population(out, clusters),
        "becomes spread": Population(clusters, out),
        "uneven clusters": Population(out, uneven(out)),
    }
    if real and len(real.before) >= formats and real.questions is not None:
        before, after = np.split(real.questions, 2, axis=1)
        known["stored run"] = of_questions(before[:, :formats], after[:, :formats])
    return known


def uneven(out: Shares) -> Shares:
    """Return two clusters with the mean and the deviation of `out`, and a best format at least as good."""
    high = max(1, len(out) // 4)
    odds = (len(out) - high) / high
    ends = np.r_[np.full(len(out) - high, -(odds**-0.5)), np.full(high, odds**0.5)]
    return out.mean() + out.std() * ends


def of_questions(before: Correct, after: Correct) -> Population:
    """Return the population of these questions, (questions, formats) before and after."""
    return Population(before.mean(axis=0), after.mean(axis=0), np.hstack([before, after]))


def stored(scores: Path) -> Population | None:
    """Return the named and the unseen formats of a run, or None if `scores` lacks base or tuned.

    The formats are in random order, so that the first of them are of both kinds.
    """
    folders = [scores / which for which in ("base", "tuned")]
    if not all((folder / "scores.parquet").exists() for folder in folders):
        return None
    runs = [read(folder) for folder in folders]
    rows = runs[0].result.variants
    names = [row.name for row in rows if row.family in ("format", "unseen")]
    names = [names[n] for n in np.random.default_rng(0).permutation(len(names))]
    items = asked_in_all(runs[0].rows, names)
    before, after = (cells(run.rows, names, items, run.result.scorer).correct for run in runs)
    return of_questions(before, after)
