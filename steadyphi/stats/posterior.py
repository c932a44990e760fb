"""The posterior given the scored cells: the extended Rasch model, with priors learnt from these cells.

θ_t = intercept + Σ over factors (effect of t's level) + δ_t. The levels of a factor share a variance, and so
do all δ, the effects of single variants. If the atoms explain much, variants with the same atoms share
information; if they explain little, their effects shrink to zero. The variances of the factors and of the
items are set to the values of the greatest evidence. The variance of δ cannot be set so, because a few cells
per variant hardly determine it, and every statement about the best and the worst variant depends on it.
Therefore several values are kept, weighted by their evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import softmax

from steadyphi.stats.irt import Bools, Floats, Prior, Rasch, fit, one_hot

OWN = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)  # standard deviations of δ in logits; 0.05 is about one point
LEAST_EFFECT = 0.07  # logits: see `updated_prior`
NEGLIGIBLE = 1e-4  # a standard deviation of δ with a lower weight is discarded permanently


@dataclass(frozen=True, eq=False)
class Posterior:
    """A mixture of models that differ in the variance of δ, and their weights, which sum to 1."""

    models: tuple[Rasch, ...]
    weights: Floats

    def accuracies(self) -> Floats:
        """Return each variant's expected accuracy over all items, (T,); see `Rasch.accuracies`."""
        return self.weights @ np.array([model.accuracies() for model in self.models])

    def chances(self) -> Floats:
        """Return the probability of each cell, (N, T), at the modes of the models."""
        return np.tensordot(self.weights, [model.chances() for model in self.models], 1)

    def draw(self, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return draws of the full grid's accuracies and of the expected ones; see `Rasch.draw`."""
        full, expected = np.empty((2, draws, self.models[0].seen.shape[1]))
        for n, model in enumerate(rng.choice(len(self.models), size=draws, p=self.weights)):
            full[n : n + 1], expected[n : n + 1] = self.models[model].draw(1, rng)
        return full, expected

    def update(self, correct: Bools, seen: Bools, groups: NDArray[np.int_]) -> "Posterior":
        """Return the posterior after more cells were scored, (N, T); groups as from `additive_prior`."""
        return weigh_models(
            [fit(correct, seen, updated_prior(model, groups), model) for model in self.models]
        )


def additive_prior(atoms: Sequence[Mapping[str, str]], items: int) -> tuple[Prior, NDArray[np.int_]]:
    """Return the initial prior and the group of each coefficient, (p,): its factor, or −1 if it has none.

    The columns are the intercept, the levels of the factors, and one for each variant's δ.
    """
    levels, factors = one_hot(atoms)
    design = np.hstack([np.ones((len(atoms), 1)), levels, np.eye(len(atoms))])
    groups = np.concatenate([[-1], factors, np.full(len(atoms), -1)])
    variances = np.full(len(groups), 0.1)
    variances[0] = 9.0
    return Prior(design, np.zeros((items, 0)), variances, 3.0), groups


def fit_posterior(
    correct: Bools, seen: Bools, prior: Prior, groups: NDArray[np.int_], rounds: int = 12
) -> Posterior:
    """Return the posterior given the cells `seen`, (N, T); prior and groups as from `additive_prior`."""
    middle = fit(correct, seen, prior)
    for _ in range(rounds):
        middle = fit(correct, seen, updated_prior(middle, groups), middle)
    models = []
    for deviation in OWN:
        variances = middle.prior.variances.copy()
        variances[-seen.shape[1] :] = deviation**2
        model = fit(correct, seen, replace(middle.prior, variances=variances), middle)
        for _ in range(3):
            model = fit(correct, seen, updated_prior(model, groups), model)
        models.append(model)
    return weigh_models(models)


def weigh_models(models: Sequence[Rasch]) -> Posterior:
    """Return the models weighted by their evidence. Prior weights are equal; negligible ones are dropped."""
    weights = softmax([model.evidence() for model in models])
    kept = [n for n, weight in enumerate(weights) if weight > NEGLIGIBLE]
    return Posterior(tuple(models[n] for n in kept), weights[kept] / weights[kept].sum())


def updated_prior(model: Rasch, groups: NDArray[np.int_]) -> Prior:
    """Return the prior after one step of the variances of the groups and of the items to greater evidence.

    The derivative of the log-evidence by log v is ½·(Σ c²/v − Σ d), where c are the coefficients of the
    group, V their posterior variances, and d = 1 − V/v the share of each that the cells determine (MacKay
    1992, doi 10.1162/neco.1992.4.3.415, section 4). The step is one of Fisher scoring, with the information
    ½·Σ d².
    (MacKay's fixed-point iteration, v ← Σ c²/Σ d, hardly moves if a group has no effect.) One additional
    coefficient of the size `LEAST_EFFECT` is assumed to be known, so that no variance becomes zero.
    groups: (p + q,). Coefficients of a negative group keep their variance.
    """
    inverse = solve_triangular(model.factor, np.eye(len(model.gamma)))
    posterior = (inverse**2).sum(axis=1)
    variances = model.prior.variances.copy()
    for group in np.unique(groups[groups >= 0]):
        members = groups == group
        variances[members] = _climb(model.gamma[members], posterior[members], variances[members][0])
    residual_variances = 1 / model.precision + ((model.link @ inverse) ** 2).sum(axis=1)
    item_variance = _climb(model.residual, residual_variances, model.prior.item_variance)
    return replace(model.prior, variances=variances, item_variance=item_variance)


def _climb(values: Floats, posterior: Floats, variance: float) -> float:
    determined = np.clip(1 - posterior / variance, 0, 1)
    slope = ((values**2).sum() + LEAST_EFFECT**2) / variance - determined.sum() - 1
    return float(variance * np.exp(np.clip(slope / ((determined**2).sum() + 1), -1, 1)))
