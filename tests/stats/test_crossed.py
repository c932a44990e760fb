"""Components of variance of crossed factors: a published example, simulations, and special cases."""

import numpy as np
import pytest

from steadyphi.stats.components import variance_components
from steadyphi.stats.crossed import components

# Diameters of the zones without growth around 6 samples of penicillin on each of 24 plates, in mm:
# the data set Penicillin of the R package lme4 (Davies & Goldsmith 1972).
PENICILLIN = """
27 23 26 23 23 21  27 23 26 23 23 21  25 21 25 24 24 20  26 23 25 23 23 20
25 22 26 22 23 20  24 22 25 23 22 19  24 20 23 21 22 19  26 22 26 24 24 21
24 21 24 22 22 20  24 21 24 23 22 19  26 23 26 24 24 21  25 22 26 24 24 20
26 24 26 24 25 22  26 23 26 23 23 20  26 23 25 24 24 22  25 22 25 23 23 20
25 21 24 23 23 20  25 22 24 23 23 19  24 21 23 21 21 19  26 23 26 24 24 21
25 21 24 22 22 18  25 22 25 22 22 20  24 21 24 22 24 19  24 21 24 22 21 18
"""


def variances(values: np.ndarray, factors: list[str]) -> dict[str, float]:
    return {" ".join(component.factors): component.variance for component in components(values, factors)}


def test_a_published_example() -> None:
    """Restricted maximum likelihood equals these estimates for balanced data: Bates 2010, lme4."""
    by_term = variances(np.array(PENICILLIN.split(), dtype=float).reshape(24, 6), ["plate", "sample"])
    assert by_term == pytest.approx({"plate": 0.7169, "sample": 3.7309, "plate sample": 0.3024}, abs=2e-4)


def test_three_factors_are_estimated_without_bias() -> None:
    rng, true = np.random.default_rng(0), {"a": 1.0, "b": 0.4, "c": 0.2, "a b": 0.6, "b c": 0.3, "a b c": 0.5}
    shape = {"a": 12, "b": 6, "c": 5}
    means: dict[str, list[float]] = {}
    for _ in range(400):
        values = np.zeros(tuple(shape.values()))
        for term, variance in true.items():
            levels = [n if factor in term.split() else 1 for factor, n in shape.items()]
            values = values + np.sqrt(variance) * rng.normal(size=levels)
        for term, variance in variances(values, list(shape)).items():
            means.setdefault(term, []).append(variance)
    for term, mean in means.items():
        error = np.std(mean) / 20
        # A term without variance is estimated as 0 or more, because negative estimates are cut.
        assert np.mean(mean) == pytest.approx(true.get(term, 0.0), abs=4 * error + 0.02), term


def test_two_factors_agree_with_the_deviation_between_formats() -> None:
    correct = np.random.default_rng(1).random((60, 5)) < np.array([0.2, 0.4, 0.5, 0.6, 0.9])
    by_term = variances(correct, ["question", "format"])
    assert by_term["format"] == pytest.approx(variance_components(correct).sigma.value ** 2)


def test_shares_and_factors_with_one_level() -> None:
    correct = np.random.default_rng(2).random((30, 1, 4)) < 0.5
    parts = components(correct, ["question", "scorer", "format"])
    assert [part.factors for part in parts] == [["question"], ["format"], ["question", "format"]]
    assert sum(part.share for part in parts) == pytest.approx(1)
    equal = components(np.ones((3, 2)), ["question", "format"])
    assert {(part.variance, part.share) for part in equal} == {(0.0, 0.0)}
