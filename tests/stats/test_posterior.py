"""The posterior given a part of the grid, for simulated grids with known parameters."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from steadyphi.stats import irt, posterior


def drawn(
    seed: int, items: int, variants: int, deviation: float
) -> tuple[NDArray[np.bool_], Any, Any, list[Any]]:
    """Return a grid simulated from the model: one factor with four levels (sd 0.5), and variants."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(0, 0.5, 4)
    thetas = 0.3 + effects[np.arange(variants) % 4] + rng.normal(0, deviation, variants)
    betas = rng.normal(0, 1.5, items)
    correct = rng.random((items, variants)) < expit(thetas - betas[:, None])
    return correct, thetas, betas, [{"case": str(t % 4), "one": "x"} for t in range(variants)]


def cells(items: int, variants: int, number: int, seed: int) -> NDArray[np.bool_]:
    seen = np.zeros((items, variants), dtype=bool)
    variant, item = np.array(irt.balanced(items, variants, number, seed)).T
    seen[item, variant] = True
    return seen


def test_parameters_are_recovered() -> None:
    correct, thetas, betas, atoms = drawn(0, 300, 80, deviation=0.3)
    seen = cells(300, 80, 12000, 0)  # half of the grid
    fitted = posterior.fit_posterior(correct & seen, seen, *posterior.additive_prior(atoms, 300))
    model = fitted.models[int(np.argmax(fitted.weights))]
    centred = model.thetas - model.thetas.mean(), thetas - thetas.mean()
    # An estimate of θ from 150 answers, each of information 0.17, has a standard error of at most 0.2.
    assert np.sqrt(np.mean((centred[0] - centred[1]) ** 2)) < 0.2
    assert np.corrcoef(model.betas, betas)[0, 1] > 0.95
    deviations = [np.sqrt(m.prior.variances[-1]) for m in fitted.models]
    assert 0.2 <= fitted.weights @ deviations <= 0.42  # 0.3 lies between two of the values
    assert 1.3 < np.sqrt(model.prior.item_variance) < 1.7
    # With half of the cells, the estimates are closer to the accuracies of the full grid than the raw shares.
    truth, raw = correct.mean(axis=0), (correct & seen).sum(axis=0) / seen.sum(axis=0)
    assert np.abs(fitted.accuracies() - truth).mean() < 0.9 * np.abs(raw - truth).mean()


def test_a_factor_without_effect_is_left_out() -> None:
    correct, *_ = drawn(1, 200, 60, deviation=0.0)
    variants = np.arange(60)
    atoms = [{"case": str(t % 4), "noise": str(t // 4 % 3)} for t in variants]
    fitted = posterior.fit_posterior(correct, np.ones_like(correct), *posterior.additive_prior(atoms, 200))
    model = fitted.models[int(np.argmax(fitted.weights))]
    case, noise = (np.sqrt(model.prior.variances[at]) for at in (1, 5))
    assert case > 0.25 and noise < 0.12
    # The true δ is 0, so the large standard deviations are ruled out.
    assert max(model.prior.variances[-1] for model in fitted.models) <= 0.2**2


def test_intervals_cover_what_the_full_grid_says() -> None:
    inside = []
    for seed in range(20):
        correct, *_, atoms = drawn(seed, 60, 20, deviation=0.3)
        seen = cells(60, 20, 400, seed)
        fitted = posterior.fit_posterior(correct & seen, seen, *posterior.additive_prior(atoms, 60), rounds=8)
        full, _ = fitted.draw(200, np.random.default_rng(seed))
        low, high = np.percentile(full, [10, 90], axis=0)
        inside.append((low <= correct.mean(axis=0)) & (correct.mean(axis=0) <= high))
    # 400 intervals of 80%; those of a grid are correlated, so the share has a standard deviation of about 3%.
    assert 0.73 < np.mean(inside) < 0.9


def test_update_is_learning_from_all_cells() -> None:
    correct, *_, atoms = drawn(3, 80, 24, deviation=0.4)
    few, more = cells(80, 24, 500, 3), cells(80, 24, 900, 3)
    assert more[few].all()
    prior, groups = posterior.additive_prior(atoms, 80)
    fitted = posterior.fit_posterior(correct & few, few, prior, groups)
    for _ in range(12):
        fitted = fitted.update(correct & more, more, groups)
    afresh = posterior.fit_posterior(correct & more, more, prior, groups, rounds=20)
    assert fitted.accuracies() == pytest.approx(afresh.accuracies(), abs=2e-3)


def test_evidence_of_a_single_coefficient() -> None:
    # 20 of 30 answers are right, with one ability θ ~ N(0, 1) and equal items (their variance is nearly 0).
    # The evidence is the integral of θ's density times σ(θ)^20 · (1 − σ(θ))^10, by the trapezoidal rule.
    prior = irt.Prior(np.ones((1, 1)), np.zeros((30, 0)), np.ones(1), 1e-9)
    correct = np.arange(30)[:, None] < 20
    model = irt.fit(correct, np.ones_like(correct), prior)
    thetas = np.linspace(-8, 8, 4001)
    density = norm.pdf(thetas) * expit(thetas) ** 20 * expit(-thetas) ** 10
    assert model.evidence() == pytest.approx(np.log(np.trapezoid(density, thetas)), abs=0.02)


def test_weights_are_the_evidence() -> None:
    correct, *_, atoms = drawn(4, 60, 12, deviation=0.2)
    seen = cells(60, 12, 300, 4)
    fitted = posterior.fit_posterior(correct & seen, seen, *posterior.additive_prior(atoms, 60))
    assert len(fitted.models) > 1 and fitted.weights.sum() == pytest.approx(1)
    ratio = np.exp(fitted.models[1].evidence() - fitted.models[0].evidence())
    assert fitted.weights[1] / fitted.weights[0] == pytest.approx(ratio)
