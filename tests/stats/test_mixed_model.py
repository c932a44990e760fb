"""The mixed-effects logistic model: the example of lme4, direct integration, and simulated answers."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import OptimizeResult
from scipy.special import expit
from scipy.stats import binom, norm

from steadyphi.stats import mixed_model
from steadyphi.stats.mixed_model import _Model, fit

# Cases of a cattle disease in 15 herds over four periods, in hexadecimal: the data set cbpp of the R package
# lme4 (Lesnoff et al. 2004). Herd 2 lacks the last period, and herd 8 all but the first.
CASES = "2340 311 8202 2020 5001 3001 8130 c 2000 1102 0531 2100 1200 b000 1110"
SIZES = (
    "14,12,9,5 22,18,21 22,16,16,20 10,10,9,6 18,25,24,4 17,17,18,20 16,10,9,5 34 9,6,8,6 22,22,18,22 "
    "25,27,22,22 10,8,6,5 21,24,19,23 19,2,3,2 19,15,15,15"
)


def cattle() -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    right = np.array([int(case, 16) for herd in CASES.split() for case in herd], dtype=float)
    herds = [herd.split(",") for herd in SIZES.split()]
    asked = np.array([int(size) for herd in herds for size in herd], dtype=float)
    period = np.array([n for herd in herds for n in range(len(herd))])
    herd_of = np.array([n for n, herd in enumerate(herds) for _ in herd])
    design = np.column_stack([np.ones(len(period)), *(period == n for n in (1, 2, 3))]).astype(float)
    return right, asked, design, {"herd": herd_of}


def test_the_example_of_lme4() -> None:
    """As the page of `glmer` prints it: cbind(incidence, size - incidence) ~ period + (1 | herd)."""
    fitted = fit(*cattle())
    assert fitted and fitted.fixed == pytest.approx([-1.3983, -0.9919, -1.1282, -1.5797], abs=2e-3)
    assert fitted.deviations == pytest.approx({"herd": 0.6421}, abs=1e-3)
    assert fitted.log_likelihood == pytest.approx(-92.0266, abs=1e-3)


def test_the_likelihood_is_near_the_integral() -> None:
    """Laplace's approximation for herds, each of which is an integral over one effect."""
    right, asked, design, terms = cattle()
    beta, deviation = np.array([-1.4, -1.0, -1.1, -1.6]), 0.64
    total = 0.0
    for herd in range(15):
        rows = terms["herd"] == herd

        def density(effect: float, rows: np.ndarray = rows) -> float:
            shares = expit(design[rows] @ beta + deviation * effect)
            return float(binom.pmf(right[rows], asked[rows], shares).prod() * norm.pdf(effect))

        total += np.log(quad(density, -6, 6)[0])
    model = _Model(right, asked, design, terms)
    assert model.deviance(np.r_[deviation, beta]) == pytest.approx(-2 * total, abs=0.15)


def test_crossed_terms_are_recovered() -> None:
    rng = np.random.default_rng(3)
    item, variant, tuned = (index.ravel() for index in np.indices((120, 10, 2)))
    true = {"question": 1.2, "format": 0.7, "tuned x format": 0.5}
    levels = {"question": item, "format": variant, "tuned x format": variant * 2 + tuned}
    logits = 0.3 + 0.8 * tuned
    for term, deviation in true.items():
        logits = logits + deviation * rng.normal(size=levels[term].max() + 1)[levels[term]]
    right = (rng.random(len(logits)) < expit(logits)).astype(float)
    design = np.column_stack([np.ones(len(logits)), tuned]).astype(float)
    fitted = fit(right, np.ones(len(right)), design, levels)
    assert fitted and fitted.deviations["question"] == pytest.approx(1.2, abs=0.25)
    assert fitted.deviations["format"] == pytest.approx(0.7, abs=0.45)
    assert fitted.deviations["tuned x format"] == pytest.approx(0.5, abs=0.25)
    assert fitted.fixed[1] == pytest.approx(0.8, abs=0.6)


def test_a_term_without_effect_has_no_deviation() -> None:
    rng = np.random.default_rng(4)
    levels = {"question": np.repeat(np.arange(40), 10), "none": np.tile(np.arange(10), 40)}
    right = (rng.random(400) < expit(1.5 * rng.normal(size=40)[levels["question"]])).astype(float)
    fitted = fit(right, np.ones(400), np.ones((400, 1)), levels)
    assert fitted and fitted.deviations["none"] < 0.3 and fitted.deviations["question"] > 1


def test_a_deviation_without_an_estimate() -> None:
    """Each question is always right or always wrong, so the larger its deviation, the better."""
    question = np.repeat(np.arange(20), 10)
    assert fit((question % 2).astype(float), np.ones(200), np.ones((200, 1)), {"question": question}) is None


def test_an_optimizer_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        mixed_model, "minimize", lambda *_, **__: OptimizeResult(success=False, x=np.ones(5), fun=1.0)
    )
    assert fit(*cattle()) is None
