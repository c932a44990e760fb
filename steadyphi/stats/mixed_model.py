"""A mixed-effects logistic model: which terms move the log-odds of a right answer, and how far.

    logit P(y = 1) = x beta + sum over terms g of u_g[level of the observation in g],  u_g ~ N(0, sigma_g^2)

It is fitted by maximum likelihood, with the random effects integrated out by Laplace's approximation (Breslow
& Clayton 1993, doi 10.1080/01621459.1993.10594284), which is what `glmer` of the R package lme4 does. The
approximation makes the deviation of a term too small if its levels have few observations each.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csc_matrix, diags_array, identity
from scipy.sparse.linalg import SuperLU, splu
from scipy.special import betaln, expit

Floats = NDArray[np.float64]
LIMIT = 20.0  # logits: a coefficient or deviation of this size stands for one without a finite estimate
STEPS, CLOSE = 50, 1e-8  # Newton steps at most, and the largest change of an effect at which they end


@dataclass(frozen=True)
class MixedFit:
    """A fitted model, in logits.

    fixed: the coefficients beta, (p,). deviations: sigma of each term. log_likelihood: at the maximum.
    """

    fixed: Floats
    deviations: dict[str, float]
    log_likelihood: float


def fit(
    right: Floats, asked: Floats, design: Floats, terms: Mapping[str, NDArray[np.int_]]
) -> MixedFit | None:
    """Return the model of the numbers of right answers.

    None if the likelihood has no maximum within `LIMIT`, or if the optimizer does not reach it.

    right, asked: (n,), the number of right answers and of all answers of each observation.
    design: (n, p), the covariates x of the fixed effects, with a column of ones.
    terms: by name, the level of each observation, (n,), counted from 0.
    """
    model = _Model(right, asked, design, terms)
    count = len(terms)
    start = np.r_[np.ones(count), np.zeros(design.shape[1])]
    start[count] = np.log((right.sum() + 0.5) / (asked.sum() - right.sum() + 0.5))
    bounds = [(0.0, LIMIT)] * count + [(-LIMIT, LIMIT)] * design.shape[1]
    optimum = minimize(
        model.deviance, start, method="L-BFGS-B", bounds=bounds, options={"eps": 1e-5, "ftol": 1e-9}
    )
    if not optimum.success or np.abs(optimum.x).max() >= LIMIT:
        return None
    deviations = dict(zip(terms, map(float, optimum.x[:count]), strict=True))
    return MixedFit(optimum.x[count:], deviations, -optimum.fun / 2)


class _Model:
    """The observations, and the last mode of the random effects, from which the next search starts."""

    def __init__(
        self, right: Floats, asked: Floats, design: Floats, terms: Mapping[str, NDArray[np.int_]]
    ) -> None:
        self.right, self.asked, self.design = right, asked, design
        sizes = [int(levels.max()) + 1 for levels in terms.values()]
        starts = np.cumsum([0, *sizes])[:-1]
        columns = np.column_stack(
            [levels + start for levels, start in zip(terms.values(), starts, strict=True)]
        )
        rows = np.repeat(np.arange(len(right)), len(sizes))
        self.levels = csc_matrix((np.ones(columns.size), (rows, columns.ravel())), (len(right), sum(sizes)))
        self.term = np.repeat(np.arange(len(sizes)), sizes)  # of each random effect
        self.mode = np.zeros(sum(sizes))
        # The log of the binomial coefficients, a constant.
        self.constant = -float((np.log1p(asked) + betaln(right + 1, asked - right + 1)).sum())

    def deviance(self, parameters: Floats) -> float:
        """Return -2 times Laplace's log-likelihood, for the deviations of the terms, then beta."""
        deviations, beta = np.split(parameters, [self.term[-1] + 1])
        scaled = self.levels @ diags_array(deviations[self.term])  # of effects with a deviation of 1
        fixed = self.design @ beta
        mode, value = self.mode, self._height(fixed, scaled, self.mode)
        for _ in range(STEPS):
            step = self._factor(fixed, scaled, mode).solve(self._slope(fixed, scaled, mode))
            before = value
            while (value := self._height(fixed, scaled, mode + step)) < before - CLOSE:
                step = step / 2
            mode = mode + step
            if np.abs(step).max() < CLOSE:
                break
        self.mode = mode
        determinant = np.log(np.abs(self._factor(fixed, scaled, mode).U.diagonal())).sum()
        return float(determinant - 2 * (value + self.constant))

    def _height(self, fixed: Floats, scaled: csc_matrix, effects: Floats) -> float:
        """Return the log of likelihood times prior, without constants."""
        logits = fixed + scaled @ effects
        fitted = self.right @ logits - self.asked @ np.logaddexp(0, logits)
        return float(fitted - effects @ effects / 2)

    def _slope(self, fixed: Floats, scaled: csc_matrix, effects: Floats) -> Floats:
        slope: Floats = scaled.T @ (self.right - self.asked * expit(fixed + scaled @ effects)) - effects
        return slope

    def _factor(self, fixed: Floats, scaled: csc_matrix, effects: Floats) -> SuperLU:
        """Return the factors of the negative second derivative of `_height`."""
        shares = expit(fixed + scaled @ effects)
        weights = diags_array(self.asked * shares * (1 - shares))
        matrix = scaled.T @ weights @ scaled + identity(len(effects))
        options = {"SymmetricMode": True}
        return splu(csc_matrix(matrix), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
