"""Variance components compared with a case by hand, an independent computation, and a known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.components import Components, expected_range, variance_components
from tests.stats.simulated import share, simulated

NORMAL = 0.6 + 0.05 * norm.ppf((np.arange(24) + 0.5) / 24)
OUTLIER = np.r_[np.full(23, 0.7), 0.4]


def test_by_hand() -> None:
    # Columns 1 and 1/3, grand mean 2/3: MS_T = 3 (1/9 + 1/9) / 1 = 2/3.
    # Rows 1/2, 1/2, 1: residuals 1/6, -1/6 (twice) and -1/3, 1/3: MS_res = (4/36 + 2/9) / (2 * 1) = 1/6.
    # sigma^2 = (2/3 - 1/6) / 3 = 1/6; MS_res / N = 1/18; the observed variance is 2/9, of which 1/18 is 1/4.
    # Corrected spread: 2/3 sqrt(1/6 : 2/9) = 2/3 sqrt(3/4).
    components = variance_components(np.array([[1, 0], [1, 0], [1, 1]], dtype=bool), Resampling(0.95, 100))
    assert components.sigma.value == pytest.approx((1 / 6) ** 0.5)
    assert components.noise == pytest.approx((1 / 18) ** 0.5)
    assert components.noise_share == pytest.approx(1 / 4)
    assert components.spread == pytest.approx(2 / 3)
    assert components.corrected_spread == pytest.approx(2 / 3 * 0.75**0.5)


@given(st.integers(2, 8), st.integers(2, 6), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_against_the_sums_of_squares_written_out(items: int, variants: int, seed: int) -> None:
    x = (np.random.default_rng(seed).random((items, variants)) < 0.6).astype(float)
    row, column = x.mean(axis=1, keepdims=True), x.mean(axis=0)
    ms_t = items * ((column - x.mean()) ** 2).sum() / (variants - 1)
    ms_res = ((x - row - column + x.mean()) ** 2).sum() / ((items - 1) * (variants - 1))
    components = variance_components(x.astype(bool), Resampling(0.9, 50, seed))
    assert components.noise == pytest.approx((ms_res / items) ** 0.5, abs=1e-7)
    assert components.sigma.value == pytest.approx(max(0, (ms_t - ms_res) / items) ** 0.5, abs=1e-6)
    assert 0 <= components.noise_share <= 1
    assert 0 <= components.corrected_spread <= components.spread + 1e-9
    assert components.sigma.low <= components.sigma.high


def test_equal_variants_have_no_spread_once_noise_is_removed() -> None:
    rng = np.random.default_rng(0)
    estimates = [
        variance_components(simulated(np.full(24, 0.6), 100, rng), Resampling(0.95, 200)) for _ in range(40)
    ]
    assert np.mean([f.spread for f in estimates]) > 0.1
    assert np.mean([f.corrected_spread for f in estimates]) < 0.04
    assert share([f.sigma.low == 0 for f in estimates]) > 0.95
    assert np.mean([f.noise_share for f in estimates]) > 0.85


@pytest.mark.parametrize("truth", [NORMAL, OUTLIER])
def test_the_true_spread_is_found(truth: np.ndarray) -> None:
    """sigma^2 is unbiased, the corrected spread nearly so, and the observed spread is too large."""
    rng = np.random.default_rng(1)
    estimates = [variance_components(simulated(truth, 100, rng), Resampling(0.95, 2)) for _ in range(200)]
    squares = np.array([f.sigma.value**2 for f in estimates])
    assert squares.mean() == pytest.approx(truth.var(ddof=1), abs=3 * squares.std() / 200**0.5)
    observed, corrected = (
        float(np.mean(values) - np.ptp(truth))
        for values in ([f.spread for f in estimates], [f.corrected_spread for f in estimates])
    )
    assert observed > 0.02 and abs(corrected) < 0.03 and abs(corrected) < observed / 2


@pytest.mark.parametrize("groups", [None, np.arange(24) // 6])
def test_coverage(groups: np.ndarray | None) -> None:
    """Coverage with and without groups of similar variants; intervals may be too wide, not too narrow."""
    rng = np.random.default_rng(2)
    estimates = [
        variance_components(simulated(NORMAL, 200, rng, groups=groups), Resampling(0.9, 200, n))
        for n in range(60)
    ]
    assert share([f.sigma.low <= NORMAL.std(ddof=1) <= f.sigma.high for f in estimates]) >= 0.83
    assert np.mean([f.sigma.high - f.sigma.low for f in estimates]) < 0.05


def test_nothing_varies() -> None:
    nothing = variance_components(np.ones((5, 3), dtype=bool), Resampling(0.95, 10))
    assert (nothing.sigma.value, nothing.noise, nothing.noise_share, nothing.spread) == (0, 0, 0, 0)
    for correct in (np.ones((1, 3), dtype=bool), np.ones((3, 1), dtype=bool)):
        assert isinstance(variance_components(correct, Resampling(0.95)), Components)


def test_expected_range_as_tabulated() -> None:
    """d2 of control charts (Tippett 1925; ASTM STP 15D), 2 / sqrt(pi) for two."""
    assert expected_range(2) == pytest.approx(2 / np.pi**0.5)
    for count, value in ((3, 1.693), (5, 2.326), (10, 3.078), (24, 3.895), (25, 3.931)):
        assert expected_range(count) == pytest.approx(value, abs=5e-4)
