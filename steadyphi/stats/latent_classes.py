"""Accuracies of many variants from a part of the grid: classes of variants, beside the Rasch model.

A model may have only a few ways to answer: all formats that it takes for a question are about equally good,
and the others crowd at a floor. Such variants differ in which items they have right, not in an ability that
all of them have more or less of. In a latent class model (Lazarsfeld & Henry 1968, Latent Structure
Analysis), each variant belongs to one of a few classes, and a variant of class c has item j right with the
probability p_cj. The prior of p_cj is a Beta distribution around the Rasch curve of the class, so with few
cells the model is a Rasch model with six abilities.

Which of the two models describes the grid better differs from grid to grid. They are weighted by how well
they predict cells that were hidden from both (stacking: Yao et al. 2018, doi 10.1214/17-BA1091, section 2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from steadyphi.stats.irt import Bools, Floats
from steadyphi.stats.posterior import Posterior

CLASSES = 6
STRENGTH = 4.0  # the prior of p_cj counts as much as this number of answers
HIDDEN = 0.15  # the share of the scored cells that is hidden to weigh the models
MARGIN = 1.92  # in log-likelihood: the lower end of the 95% interval of the weight
STARTS, ROUNDS = 4, 40  # of the EM algorithm; the start that ends at the greatest posterior is kept
CERTAIN = 1e-4  # no probability in a prior or a prediction is nearer to 0 or 1


@dataclass(frozen=True, eq=False)
class Classes:
    """The latent class model of a grid.

    right, wrong: (C, N), the parameters of the Beta posterior of p_cj.
    members: (T, C), the probability that a variant belongs to a class. Rows sum to 1.
    correct, seen: (N, T), the cells.
    """

    right: Floats
    wrong: Floats
    members: Floats
    correct: Bools
    seen: Bools

    def chances(self) -> Floats:
        """Return the expected probability of each cell, (N, T)."""
        return (self.members @ (self.right / (self.right + self.wrong))).T

    def accuracies(self) -> Floats:
        """Return each variant's expected accuracy over all items, (T,); see `Rasch.accuracies`."""
        return np.where(self.seen, self.correct, self.chances()).mean(axis=0)

    def draw(self, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return draws of the full grid's accuracies and of the expected ones; see `Rasch.draw`.

        In a draw, each variant has one class for all items, and all variants of a class share its p_cj.
        """
        full, expected = np.empty((2, draws, len(self.members)))
        bounds = self.members.cumsum(axis=1)[:, :-1]
        for n in range(draws):
            classes = (rng.random((len(bounds), 1)) > bounds).sum(axis=1)
            chances = rng.beta(self.right, self.wrong).T[:, classes]
            answers = np.where(self.seen, self.correct, rng.random(chances.shape) < chances)
            full[n], expected[n] = answers.mean(axis=0), chances.mean(axis=0)
        return full, expected


def fit_classes(correct: Bools, seen: Bools, model: Posterior, rng: np.random.Generator) -> Classes:
    """Fit the classes to the cells of `correct` (N, T) where `seen` (N, T), by EM from several starts.

    model: the Rasch model of the same cells. The ability of a class is the mean of those of its members.
    """
    thetas = model.weights @ np.array([each.thetas for each in model.models])
    betas = model.weights @ np.array([each.betas for each in model.models])
    right = (correct & seen).T.astype(np.float64)
    wrong = seen.T - right
    ends = []
    for start in range(STARTS):
        # The first start divides the variants by ability alone, the others also at random.
        noise = rng.normal(0, thetas.std(), len(thetas)) if start else 0.0
        ranks = np.argsort(np.argsort(thetas + noise))
        members = np.eye(CLASSES)[ranks * CLASSES // len(ranks)]
        for _ in range(ROUNDS):
            a, b, members, value = _round(right, wrong, members, thetas, betas)
        ends.append((value, a, b, members))
    _, a, b, members = max(ends, key=lambda end: end[0])
    return Classes(a, b, members, correct, seen)


def _round(
    right: Floats, wrong: Floats, members: Floats, thetas: Floats, betas: Floats
) -> tuple[Floats, Floats, Floats, float]:
    """Return the parameters for these members, the new members, and the log-posterior for the parameters.

    right, wrong: (T, N), 1 for a cell that was scored and is right or wrong.
    """
    sizes = members.sum(axis=0) + 1e-9
    curve = expit((members.T @ thetas / sizes)[:, None] - betas).clip(CERTAIN, 1 - CERTAIN)
    a, b = STRENGTH * curve + members.T @ right, STRENGTH * (1 - curve) + members.T @ wrong
    logs, other = np.log(a / (a + b)), np.log(b / (a + b))
    joint = right @ logs.T + wrong @ other.T + np.log((sizes + 1) / (sizes + 1).sum())
    likelihoods = logsumexp(joint, axis=1, keepdims=True)
    prior = STRENGTH * (curve * logs + (1 - curve) * other).sum()
    return a, b, np.exp(joint - likelihoods), float(likelihoods.sum() + prior)


@dataclass(frozen=True, eq=False)
class Stacked:
    """The Rasch model and the classes. weight: of the classes, between 0 and 1."""

    rasch: Posterior
    classes: Classes
    weight: float

    def accuracies(self) -> Floats:
        """Return each variant's expected accuracy over all items, (T,)."""
        return (1 - self.weight) * self.rasch.accuracies() + self.weight * self.classes.accuracies()

    def draw(self, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return draws of the full grid's accuracies and of the expected ones; see `Rasch.draw`.

        Each draw is of one of the models.
        """
        of_classes = int(rng.binomial(draws, self.weight))
        pairs = self.rasch.draw(draws - of_classes, rng), self.classes.draw(of_classes, rng)
        full, expected = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return full, expected


def stack(
    model: Posterior, correct: Bools, seen: Bools, groups: NDArray[np.int_], rng: np.random.Generator
) -> Stacked:
    """Return the Rasch model of the cells `seen`, (N, T), stacked with the classes.

    groups: as from `posterior.additive_prior`.
    """
    cells = np.argwhere(seen)
    hidden = tuple(rng.permutation(cells)[: int(HIDDEN * len(cells))].T)
    rest = seen.copy()
    rest[hidden] = False
    known, answers = correct & rest, correct[hidden]
    partial = model.update(known, rest, groups)
    chances = [each.chances()[hidden] for each in (partial, fit_classes(known, rest, partial, rng))]
    rasch, classes = (np.where(answers, p, 1 - p).clip(CERTAIN) for p in chances)

    return Stacked(model, fit_classes(correct, seen, model, rng), _weight(rasch, classes))


def _weight(rasch: Floats, classes: Floats) -> float:
    """Return the weight of the classes, from the probability that each model gave each hidden answer.

    With few hidden answers the most likely weight is nearly random, and the classes are too sure of a few
    cells. Therefore the least weight is taken that is not less likely than the best by more than `MARGIN`.
    """
    weights = np.linspace(0, 1, 101)
    likelihoods = np.log(rasch + weights[:, None] * (classes - rasch)).sum(axis=1)
    return float(weights[np.argmax(likelihoods >= likelihoods.max() - MARGIN)])
