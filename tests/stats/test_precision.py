"""Precision formulas compared with published examples, simulations, and the figures in the documentation."""

import re

import numpy as np
import pytest
from scipy.stats import binom

from steadyphi.stats import precision
from tests.conftest import ROOT
from tests.stats.simulated import simulated

TEXT = (ROOT / "docs" / "statistics.md").read_text()


def test_discordance_by_hand() -> None:
    # Rows with 1, 3 and 2 of 3 right: 2 of 3 pairs differ, then none, then 2 of 3.
    correct = np.array([[1, 0, 0], [1, 1, 1], [0, 1, 1]], dtype=bool)
    assert precision.discordance(correct) == pytest.approx((2 / 3 + 0 + 2 / 3) / 3)


def test_sample_size_as_published() -> None:
    """Connor 1987, p. 209, as computed by powerandsamplesize.com: 0.45 against 0.05 needs 23 items."""
    assert precision.detectable_difference(0.5, 23) < 0.4 < precision.detectable_difference(0.5, 22)
    assert np.isnan(precision.detectable_difference(0.05, 10))


def test_by_hand() -> None:
    assert precision.accuracy_error(0.6, 400) == pytest.approx((0.24 / 400) ** 0.5)
    assert precision.difference_error(0.2, 400, 0.1) == pytest.approx((0.19 / 400) ** 0.5)


def test_against_simulation() -> None:
    """300 evaluations of 200 items in 12 equally good variants."""
    rng = np.random.default_rng(0)
    samples = [simulated(np.full(12, 0.6), 200, rng) for _ in range(300)]
    psi = float(np.mean([precision.discordance(correct) for correct in samples]))
    shares = np.array([correct.mean(axis=0) for correct in samples])
    assert shares[:, 0].std() == pytest.approx(precision.accuracy_error(0.6, 200), rel=0.12)
    assert (shares[:, 1] - shares[:, 0]).std() == pytest.approx(
        precision.difference_error(psi, 200), rel=0.12
    )
    assert np.ptp(shares, axis=1).mean() == pytest.approx(precision.noise_spread(psi, 200, 12), rel=0.05)


def test_power_is_as_said() -> None:
    """With 400 items, discordant with 0.1 + d / 2 and 0.1 - d / 2, the asymptotic test has a power of 80%."""
    psi, items = 0.2, 400
    difference = precision.detectable_difference(psi, items)
    rng = np.random.default_rng(1)
    won, lost = rng.multinomial(
        items, [(psi + difference) / 2, (psi - difference) / 2, 1 - psi], size=4000
    ).T[:2]
    assert (np.abs(won - lost) / np.sqrt(won + lost) > 1.96).mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("items", [200, 400, 1000])
@pytest.mark.parametrize("psi", [0.1, 0.2, 0.4])
def test_the_exact_test_reaches_nearly_the_power_of_the_formula(psi: float, items: int) -> None:
    """The power of McNemar's exact test, summed over the discordant items: 77% to 80%, as the page says."""
    difference = precision.detectable_difference(psi, items)
    power = 0.0
    for discordant in range(1, items + 1):
        better = np.arange(discordant + 1)
        tail = binom.cdf(np.minimum(better, discordant - better), discordant, 0.5)
        rejected = np.minimum(1, 2 * tail) <= 0.05
        share = binom.pmf(better, discordant, (psi + difference) / (2 * psi))
        power += binom.pmf(discordant, items, psi) * share[rejected].sum()
    assert 0.765 <= power <= 0.805


def rows(heading: str) -> list[list[float]]:
    """Return the numbers of the table under a heading of the page."""
    table = TEXT.split(f"### {heading}\n")[1].split("\n\n")[1]
    return [[float(n) for n in re.findall(r"[\d.]+", line)] for line in table.splitlines()[2:]]


def test_the_page_has_the_figures_of_one_accuracy() -> None:
    for items, *figures in rows("One accuracy"):
        expected = [100 * precision.accuracy_error(p, int(items)) for p in (0.5, 0.7, 0.9)]
        assert figures == pytest.approx(expected, abs=0.0501)


@pytest.mark.parametrize("discordance", [0.1, 0.2, 0.4])
def test_the_page_has_the_figures_of_differences(discordance: float) -> None:
    matching = [row for row in rows("Differences and the spread") if row[0] == discordance]
    assert len(matching) == 3
    for psi, items, *figures in matching:
        n = int(items)
        expected = [
            precision.difference_error(psi, n),
            precision.detectable_difference(psi, n),
            precision.detectable_difference(psi, n, alpha=0.05 / 23),
            precision.noise_spread(psi, n, 24),
        ]
        assert figures == pytest.approx([100 * value for value in expected], abs=0.0501)
