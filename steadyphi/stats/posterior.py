"""What the scored cells say of all variants: the extended Rasch model with priors learnt from the cells.

θ_t = intercept + Σ over factors (effect of t's level) + δ_t. Each factor's levels share a variance, and
so do all δ, the variants' own effects: where atoms explain much, variants alike in their atoms lend each
other strength; where they explain little they are left out. Factors' and items' variances are set to
the values of the greatest evidence. That of δ cannot be: few cells a variant hardly tell it, and all
that is said of the best and the worst hangs on it. So several values stay in play, weighted by evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import softmax

from steadyphi.stats.irt import Bools, Floats, Prior, Rasch, fit, one_hot

OWN = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)  # standard deviations of δ in logits; 0.05 is about a point
LEAST_EFFECT = 0.07  # logits: see `suggest`
NEGLIGIBLE = 1e-4  # a weight below which a value of the standard deviation is out of play for good


@dataclass(frozen=True, eq=False)
class Belief:
    """Models that differ in the variance of δ, and how much each is believed; the weights sum to 1."""

    models: tuple[Rasch, ...]
    weights: Floats

    def accuracies(self) -> Floats:
        """Return each variant's expected accuracy over all the items, (T,): see `Rasch.accuracies`."""
        return self.weights @ np.array([model.accuracies() for model in self.models])

    def draw(self, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return draws of the full grid's accuracies and of the expected ones: see `Rasch.draw`."""
        chosen = rng.choice(len(self.models), size=draws, p=self.weights)
        pairs = [self.models[model].draw(1, rng) for model in chosen]
        return np.concatenate([full for full, _ in pairs]), np.concatenate([rates for _, rates in pairs])

    def update(self, correct: Bools, seen: Bools, groups: NDArray[np.int_]) -> "Belief":
        """Return the belief after more cells were scored; arrays (N, T), groups as from `additive`."""
        return weigh([fit(correct, seen, suggest(model, groups), model) for model in self.models])


def additive(atoms: Sequence[Mapping[str, str]], items: int) -> tuple[Prior, NDArray[np.int_]]:
    """Return a prior to start from and each coefficient's group, (p,): its factor, or −1 if none.

    The columns are the intercept, the levels of the factors, and one for each variant's own effect.
    """
    levels, factors = one_hot(atoms)
    design = np.hstack([np.ones((len(atoms), 1)), levels, np.eye(len(atoms))])
    groups = np.concatenate([[-1], factors, np.full(len(atoms), -1)])
    variances = np.full(len(groups), 0.1)
    variances[0] = 9.0
    return Prior(design, np.zeros((items, 0)), variances, 3.0), groups


def learn(correct: Bools, seen: Bools, prior: Prior, groups: NDArray[np.int_], rounds: int = 12) -> Belief:
    """Return the belief after the cells where `seen`; arrays (N, T), prior and groups as from `additive`."""
    middle = fit(correct, seen, prior)
    for _ in range(rounds):
        middle = fit(correct, seen, suggest(middle, groups), middle)
    models = []
    for own in OWN:
        variances = middle.prior.variances.copy()
        variances[-seen.shape[1] :] = own**2
        model = fit(correct, seen, replace(middle.prior, variances=variances), middle)
        for _ in range(3):
            model = fit(correct, seen, suggest(model, groups), model)
        models.append(model)
    return weigh(models)


def weigh(models: Sequence[Rasch]) -> Belief:
    """Return the models weighted by their evidence, equally likely beforehand, the negligible left out."""
    weights = softmax([model.evidence() for model in models])
    kept = [n for n, weight in enumerate(weights) if weight > NEGLIGIBLE]
    return Belief(tuple(models[n] for n in kept), weights[kept] / weights[kept].sum())


def suggest(model: Rasch, groups: NDArray[np.int_]) -> Prior:
    """Return the prior with each group's variance, and the items', moved to greater evidence.

    The evidence's slope along log v is ½·(Σ c²/v − Σ d), with c the group's coefficients, V their
    posterior variances and d = 1 − V/v the share of each that the cells determine (MacKay 1992, doi
    10.1162/neco.1992.4.3.415, section 4); the step is Fisher's scoring with the information ½·Σ d².
    (MacKay's own fixed point, v ← Σ c²/Σ d, hardly moves where a group has no effect.) One more
    coefficient, of the size `LEAST_EFFECT`, is taken as known, so that no variance vanishes.
    groups: (p + q,), coefficients of a negative group keep their variance.
    """
    inverse = solve_triangular(model.factor, np.eye(len(model.gamma)))
    posterior = (inverse**2).sum(axis=1)
    variances = model.prior.variances.copy()
    for group in np.unique(groups[groups >= 0]):
        of = groups == group
        variances[of] = _climb(model.gamma[of], posterior[of], variances[of][0])
    own = 1 / model.precision + ((model.link @ inverse) ** 2).sum(axis=1)
    item_variance = _climb(model.residual, own, model.prior.item_variance)
    return replace(model.prior, variances=variances, item_variance=item_variance)


def _climb(values: Floats, posterior: Floats, variance: float) -> float:
    determined = np.clip(1 - posterior / variance, 0, 1)
    slope = ((values**2).sum() + LEAST_EFFECT**2) / variance - determined.sum() - 1
    return float(variance * np.exp(np.clip(slope / ((determined**2).sum() + 1), -1, 1)))
