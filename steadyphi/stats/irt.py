"""Accuracies of many variants from a part of the grid: an extended Rasch model with covariates.

PromptEval (Polo et al. 2024, arXiv 2405.17202) treats the variants of a prompt as the persons of a test and
the questions as its items. It fits P(variant t is right on item j) = σ(θ_t − β_j) to the scored cells. This
module adds grids drawn from the posterior (`Rasch.draw`) and the evidence for a prior (`Rasch.evidence`),
which `posterior` uses to learn the priors.

Arrays are (items, variants), as in the whole package: N items, T variants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.measures import quantiles

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Prior:
    """The prior of θ = prompts·γ and β = covariates·ψ + ε.

    All coefficients are independent and normal with mean 0.
    prompts: (T, p). covariates: (N, q), often without columns.
    variances: (p + q,), of γ and ψ. item_variance: of each ε_j.
    """

    prompts: Floats
    covariates: Floats
    variances: Floats
    item_variance: float


def flat(prompts: Floats, items: int, covariates: Floats | None = None, variance: float = 100.0) -> Prior:
    """Return the prior of the published code: one variance for all coefficients, the inverse L2 penalty.

    prompts: (T, p), covariates of the variants, or the identity matrix for one parameter per variant.
    covariates: (N, q), of the items. If they are given, β depends on them only, and `prompts` needs a column
        of ones.
    """
    item_covariates = np.zeros((items, 0)) if covariates is None else covariates
    # ε is disabled by a variance so small that it stays at 0, not by a separate code path.
    item_variance = variance if covariates is None else 1e-9
    return Prior(
        prompts,
        item_covariates,
        np.full(prompts.shape[1] + item_covariates.shape[1], variance),
        item_variance,
    )


def one_hot(atoms: Sequence[Mapping[str, str]]) -> tuple[Floats, NDArray[np.int_]]:
    """Return a 0/1 column for each level of each factor, (T, p), and the index of its factor, (p,).

    A factor with a single level has no column, because the intercept covers it.
    """
    columns, factors = [], []
    for number, factor in enumerate(sorted({factor for row in atoms for factor in row})):
        levels = sorted({row[factor] for row in atoms})
        for level in levels if len(levels) > 1 else []:
            columns.append([row[factor] == level for row in atoms])
            factors.append(number)
    design = np.array(columns, dtype=np.float64).reshape(len(columns), len(atoms)).T
    return design, np.array(factors, dtype=np.int_)


def balanced(items: int, variants: int, cells: int, seed: int) -> list[tuple[int, int]]:
    """Return the cells (variant, item) of a stratified random design, in scoring order.

    Each cell has a variant with the fewest cells so far and, among the items that this variant lacks, an item
    with the fewest cells. Ties are broken at random. This is PromptEval's two-way balanced sampling, as
    implemented in `StratSample` in its code.
    """
    rng = np.random.default_rng([seed, items, variants])
    lacking = np.ones((items, variants), dtype=bool)
    per_item, per_variant = np.zeros(items), np.zeros(variants)
    chosen = []
    for _ in range(min(cells, items * variants)):
        variant = rng.choice(np.flatnonzero(per_variant == per_variant.min()))
        open_items = np.where(lacking[:, variant], per_item, np.inf)
        item = rng.choice(np.flatnonzero(open_items == open_items.min()))
        lacking[item, variant] = False
        per_item[item] += 1
        per_variant[variant] += 1
        chosen.append((int(variant), int(item)))
    return chosen


@dataclass(frozen=True, eq=False)
class Rasch:
    """The model at the mode of its posterior, with Laplace's normal approximation around the mode.

    gamma: (p + q,), the coefficients of `prior.prompts`, then of `prior.covariates`.
    residual: ε, (N,).
    factor: (p + q, p + q), the upper Cholesky factor of gamma's posterior precision with ε integrated out.
    link: (N, p + q), the derivative of ε's posterior mean by gamma.
    precision: (N,), the posterior precision of ε given gamma.
    """

    prior: Prior
    correct: Bools
    seen: Bools
    gamma: Floats
    residual: Floats
    factor: Floats
    link: Floats
    precision: Floats

    @property
    def thetas(self) -> Floats:
        """The ability of each variant in logits, (T,)."""
        return self.prior.prompts @ self.gamma[: self.prior.prompts.shape[1]]

    @property
    def betas(self) -> Floats:
        """The difficulty of each item in logits, (N,)."""
        return self.prior.covariates @ self.gamma[self.prior.prompts.shape[1] :] + self.residual

    def chances(self) -> Floats:
        """Return the probability of each cell at the mode, σ(θ_t − β_j), (N, T)."""
        chances: Floats = expit(self.thetas - self.betas[:, None])
        return chances

    def accuracies(self) -> Floats:
        """Return the estimated accuracy of each variant over all items, (T,).

        λ·(mean of the scored cells) + (1 − λ)·(mean of σ(θ_t − β_j) over the others), where λ is the share of
        the items that were scored: PromptEval's estimator (arXiv 2405.17202, section 3).
        """
        return np.where(self.seen, self.correct, self.chances()).mean(axis=0)

    def quantiles(self) -> dict[str, float]:
        """Return quantiles of accuracy over the variants, by percent."""
        return quantiles(self.accuracies())

    def evidence(self) -> float:
        """Return the log-probability of the cells under the prior, by Laplace's approximation.

        It is the log-posterior at the mode − ½·log det(its curvature · the covariance of the prior); MacKay
        1992, doi 10.1162/neco.1992.4.3.415, section 4.
        """
        curvature = 2 * np.log(self.factor.diagonal()).sum() + np.log(self.precision).sum()
        spread = np.log(self.prior.variances).sum() + len(self.residual) * np.log(self.prior.item_variance)
        return _log_posterior(self) - float(curvature + spread) / 2

    def draw(self, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return draws of the accuracies on these items and on similar items: two (draws, T) arrays.

        The first fills the cells that were not scored with answers drawn from the posterior, so its columns
        are draws of the accuracies in the full grid. The second takes the drawn probability of every cell,
        scored or not. It is therefore free of the chance that made a variant the best on these items.
        """
        full, expected = [], []
        for _ in range(draws):
            shift = solve_triangular(self.factor, rng.standard_normal(len(self.gamma)))
            noise = rng.standard_normal(len(self.residual)) / np.sqrt(self.precision)
            gamma, residual = self.gamma + shift, self.residual + self.link @ shift + noise
            moved = replace(self, gamma=gamma, residual=residual)
            chances = moved.chances()
            answers = np.where(self.seen, self.correct, rng.random(chances.shape) < chances)
            full.append(answers.mean(axis=0))
            expected.append(chances.mean(axis=0))
        return np.array(full), np.array(expected)


def fit(correct: Bools, seen: Bools, prior: Prior, start: Rasch | None = None) -> Rasch:
    """Fit the model to the cells of `correct` (N, T) where `seen` (N, T), by Newton's method from `start`.

    The mode is that of a logistic regression with an L2 penalty of 1/variance on each coefficient (arXiv
    2405.17202, section 3). The ε of an item occurs only in the rows of this item, so its block of the Hessian
    is diagonal and is eliminated: the cost is that of p + q unknowns, not of p + q + N.
    Raises SteadyPhiError if no cell was scored.
    """
    if not seen.any():
        raise SteadyPhiError("No cell of the grid was scored: the model of accuracies needs at least one.")
    gamma = start.gamma if start else np.zeros(len(prior.variances))
    residual = start.residual if start else np.zeros(len(seen))
    for _ in range(100):
        slope, residual_slope, state = _expand(correct, seen, prior, gamma, residual)
        reduced = slope + state.link.T @ residual_slope
        step = cho_solve((state.factor, False), reduced)
        residual_step = residual_slope / state.precision + state.link @ step
        length = _shorten(state, step, residual_step, slope @ step + residual_slope @ residual_step)
        gamma, residual = gamma + length * step, residual + length * residual_step
        if max(np.abs(step).max(), np.abs(residual_step).max()) < 1e-5:
            break
    return _expand(correct, seen, prior, gamma, residual)[2]


def _expand(
    correct: Bools, seen: Bools, prior: Prior, gamma: Floats, residual: Floats
) -> tuple[Floats, Floats, Rasch]:
    """Return the gradients of the log-posterior by gamma and ε, and the model at this point."""
    empty = np.zeros((0, 0))
    point = Rasch(prior, correct, seen, gamma, residual, empty, empty, empty)
    chances = point.chances()
    surplus = np.where(seen, correct - chances, 0.0)
    weights = np.where(seen, chances * (1 - chances), 0.0)
    slope = np.concatenate([surplus.sum(axis=0) @ prior.prompts, -surplus.sum(axis=1) @ prior.covariates])
    residual_slope = -surplus.sum(axis=1) - residual / prior.item_variance
    precision = weights.sum(axis=1) + 1 / prior.item_variance
    # One row per item: the weighted sum of the features of its cells.
    rows = np.hstack([weights @ prior.prompts, -weights.sum(axis=1)[:, None] * prior.covariates])
    link = rows / precision[:, None]
    split = prior.prompts.shape[1]
    curvature = np.diag(1 / prior.variances)
    curvature[:split, :split] += prior.prompts.T @ (weights.sum(axis=0)[:, None] * prior.prompts)
    curvature[split:, split:] -= prior.covariates.T @ rows[:, split:]
    cross = rows[:, :split].T @ prior.covariates
    curvature[:split, split:] -= cross
    curvature[split:, :split] -= cross.T
    factor = cholesky(curvature - rows.T @ link)
    state = replace(point, factor=factor, link=link, precision=precision)
    return slope - gamma / prior.variances, residual_slope, state


def _shorten(state: Rasch, step: Floats, residual_step: Floats, slope: float) -> float:
    """Return the largest of 1, 1/2, 1/4 … for which the step increases the log-posterior (Armijo's rule)."""
    here, length = _log_posterior(state), 1.0
    while length > 1e-6:
        moved = replace(
            state, gamma=state.gamma + length * step, residual=state.residual + length * residual_step
        )
        if _log_posterior(moved) >= here + 1e-4 * length * slope - 1e-9:
            break
        length /= 2
    return length


def _log_posterior(model: Rasch) -> float:
    logits = np.where(model.correct, 1, -1) * (model.thetas - model.betas[:, None])
    likelihood = -np.logaddexp(0, -logits)[model.seen].sum()
    penalty = (model.gamma**2 / model.prior.variances).sum() + (model.residual**2).sum() / (
        model.prior.item_variance
    )
    return float(likelihood - penalty / 2)
