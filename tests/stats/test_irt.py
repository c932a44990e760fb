"""The extended Rasch model compared with the published code, an independent optimizer, and known truths."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from steadyphi.errors import SteadyPhiError
from steadyphi.stats import irt

# A grid without random numbers, so that it is the same with every version of NumPy.
ITEM, VARIANT = np.indices((24, 12))
CORRECT = (7 * ITEM + 11 * VARIANT + ITEM * VARIANT**2) % 5 < 1 + VARIANT % 3 + ITEM % 2
SEEN = (ITEM + 2 * VARIANT) % 3 != 0
ATOMS = [{"case": str(t % 3), "separator": str(t // 3)} for t in range(12)]
# Without the first level of each factor, because the published code requires full rank.
PROMPTS = np.delete(irt.one_hot(ATOMS)[0], [0, 3], axis=1)
ITEMS = np.column_stack([np.arange(24) % 2, np.linspace(-1, 1, 24)])

# `accs_hat` and `pirt` of the published PromptEval on these cells: github.com/felipemaiapolo/prompteval,
# commit c5e492b (the package prompteval 0.0.1 on PyPI is empty), ExtendedRaschModel with scikit-learn
# 1.9.1, with the tolerance of its solver changed from 1e-4 to 1e-10.
PUBLISHED = {
    "prompts": (
        [
            *(0.337613, 0.512663, 0.729029, 0.377884, 0.427925, 0.769562),
            *(0.27389, 0.449054, 0.66742, 0.343242, 0.560018, 0.733439),
        ],
        [0.308938, 0.369223, 0.480859, 0.682822, 0.749694],
    ),
    "both": (
        [
            *(0.313532, 0.55615, 0.693172, 0.355128, 0.472735, 0.734771),
            *(0.252951, 0.491267, 0.631294, 0.320203, 0.605393, 0.699405),
        ],
        [0.28627, 0.346397, 0.523708, 0.646763, 0.71532],
    ),
    "none": (
        [
            *(0.334011, 0.518759, 0.723331, 0.395702, 0.3996, 0.78424),
            *(0.270862, 0.458599, 0.65998, 0.334011, 0.580234, 0.723331),
        ],
        [0.305594, 0.38028, 0.488679, 0.675818, 0.75074],
    ),
}


@pytest.mark.parametrize("covariates", PUBLISHED)
def test_as_the_published_code(covariates: str) -> None:
    with_ones = np.hstack([PROMPTS, np.ones((12, 1))])
    prior = {
        "prompts": irt.flat(PROMPTS, 24),
        "both": irt.flat(with_ones, 24, ITEMS),
        "none": irt.flat(np.eye(12), 24),
    }[covariates]
    model = irt.fit(CORRECT, SEEN, prior)
    accuracies, quantiles = PUBLISHED[covariates]
    # Without covariates the published code fixes the last item's difficulty at 0, here it has a prior.
    tolerance = 4e-3 if covariates == "none" else 2e-6
    assert model.accuracies() == pytest.approx(accuracies, abs=tolerance)
    assert list(model.quantiles().values()) == pytest.approx(quantiles, abs=tolerance)


def test_mode_and_covariance_by_an_independent_optimizer() -> None:
    variances = np.array([9.0, 0.3, 0.3, 0.3, 0.2, 0.2, 0.7, 0.7])
    prior = irt.Prior(np.hstack([np.ones((12, 1)), PROMPTS]), ITEMS, variances, 0.5)
    model = irt.fit(CORRECT, SEEN, prior)

    # All unknowns in one vector. Each scored cell has a row of features: those of θ, those of −β, and −1 for
    # the item.
    item, variant = np.nonzero(SEEN)
    features = np.hstack([prior.prompts[variant], -ITEMS[item], -np.eye(24)[item]])
    precision = 1 / np.concatenate([variances, np.full(24, 0.5)])

    def loss(x: NDArray[np.float64]) -> Any:
        sign = np.where(CORRECT[item, variant], 1, -1)
        return np.logaddexp(0, -sign * (features @ x)).sum() + precision @ x**2 / 2

    minimum = minimize(loss, np.zeros(32), method="BFGS", options={"gtol": 1e-7})
    assert np.concatenate([model.gamma, model.residual]) == pytest.approx(minimum.x, abs=1e-5)
    chances = expit(features @ minimum.x)
    hessian = (features.T * (chances * (1 - chances))) @ features + np.diag(precision)
    covariance = np.linalg.inv(hessian)
    inverse = np.linalg.inv(model.factor)
    assert inverse @ inverse.T == pytest.approx(covariance[:8, :8], abs=1e-5)
    marginal = np.diag(1 / model.precision) + (model.link @ inverse) @ (model.link @ inverse).T
    assert marginal == pytest.approx(covariance[8:, 8:], abs=1e-5)


def test_draws_have_the_covariance_of_the_posterior() -> None:
    """The delta method: var A_t = g·Σ·g, with g the slope of the mean of σ(θ_t − β_j) over the items."""
    prior = irt.Prior(PROMPTS, np.zeros((24, 0)), np.full(5, 0.05), 0.05)
    model = irt.fit(CORRECT, SEEN, prior)
    chances = expit(model.thetas - model.betas[:, None])
    # Features and curvature of all 5 + 24 unknowns, cell by cell.
    item, variant = np.nonzero(SEEN)
    features = np.hstack([PROMPTS[variant], -np.eye(24)[item]])
    weights = (chances * (1 - chances))[item, variant]
    covariance = np.linalg.inv((features.T * weights) @ features + np.eye(29) / 0.05)
    slope = np.vstack([(chances * (1 - chances)).mean(axis=0) * PROMPTS.T, -chances * (1 - chances) / 24])
    deviation = np.sqrt(np.einsum("it,ij,jt->t", slope, covariance, slope))
    _, expected = model.draw(2000, np.random.default_rng(0))
    assert expected.std(axis=0) == pytest.approx(deviation, rel=0.08)
    assert expected.mean(axis=0) == pytest.approx(chances.mean(axis=0), abs=0.005)


def test_an_accuracy_by_hand() -> None:
    # Two of three items scored, one right. θ = 0.4, and the third item's β = −0.1:
    # 2/3 · 1/2 + 1/3 · σ(0.5) = 0.33333 + 0.33333 · 0.62246 = 0.54082
    empty = np.zeros((0, 0))
    prior = irt.Prior(np.ones((1, 1)), np.zeros((3, 0)), np.ones(1), 1.0)
    correct, seen = np.array([[True], [False], [False]]), np.array([[True], [True], [False]])
    model = irt.Rasch(prior, correct, seen, np.array([0.4]), np.array([2.0, 3.0, -0.1]), empty, empty, empty)
    assert model.accuracies() == pytest.approx([0.54082], abs=1e-5)


def test_draws_of_a_grid_known_in_full_are_that_grid() -> None:
    model = irt.fit(CORRECT, np.ones_like(CORRECT), irt.flat(PROMPTS, 24))
    full, expected = model.draw(3, np.random.default_rng(0))
    assert np.array_equal(full, np.tile(CORRECT.mean(axis=0), (3, 1)))
    assert np.ptp(expected, axis=0).min() > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 150), st.integers(0, 5))
def test_design_is_balanced(items: int, variants: int, number: int, seed: int) -> None:
    chosen = irt.balanced(items, variants, number, seed)
    assert len(set(chosen)) == len(chosen) == min(number, items * variants)
    counts = np.zeros((items, variants), dtype=int)
    for variant, item in chosen:
        counts[item, variant] += 1
    # Items may differ more once most cells are taken, because a variant cannot have an item twice.
    most = 2 if 2 * number <= items * variants else 4
    assert np.ptp(counts.sum(axis=0)) <= 1 and np.ptp(counts.sum(axis=1)) <= most
    assert chosen == irt.balanced(items, variants, number, seed)


def test_one_hot_leaves_out_what_does_not_vary() -> None:
    design, factors = irt.one_hot([{"b": "y", "a": "x"}, {"b": "z", "a": "x"}, {"b": "y", "a": "x"}])
    assert design.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert factors.tolist() == [1, 1]
    assert irt.one_hot([{}, {}])[0].shape == (2, 0)


def test_nothing_scored() -> None:
    with pytest.raises(SteadyPhiError, match="at least one"):
        irt.fit(CORRECT, np.zeros_like(SEEN), irt.flat(PROMPTS, 24))
