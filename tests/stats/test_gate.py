"""The gate fails models that got worse and passes those that did not, despite the noise."""

import numpy as np
import pytest

from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.gate import decide
from tests.stats.simulated import share, simulated

LINE = np.linspace(-1, 1, 12)


def pair(before: np.ndarray, after: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two runs on the same 200 items, with the same difficulties."""
    both = simulated(np.r_[before, after], 200, np.random.default_rng(seed))
    return both[:, : len(before)], both[:, len(before) :]


@pytest.mark.parametrize("truth", [np.full(12, 0.6), 0.6 + 0.1 * LINE])
def test_no_change_seldom_fails(truth: np.ndarray) -> None:
    failed = [not decide(*pair(truth, truth, n), Resampling(0.9, 150)).passed for n in range(40)]
    assert share(failed) <= 0.175


def test_improvement_passes() -> None:
    assert all(
        decide(*pair(0.6 + 0.1 * LINE, 0.7 + 0.05 * LINE, n), Resampling(draws=200)).passed for n in range(15)
    )


def test_more_spread_and_a_worse_worst_case_fail() -> None:
    gates = [decide(*pair(0.6 + 0.03 * LINE, 0.6 + 0.15 * LINE, n), Resampling(draws=200)) for n in range(15)]
    assert share([not gate.passed for gate in gates]) >= 0.9
    assert any(
        reason.startswith("the deviation between formats grows: ")
        for gate in gates
        for reason in gate.reasons
    )


def test_reasons_by_hand() -> None:
    # All right before; after, one of two variants has 40 of 100 items wrong, far beyond the noise.
    before = np.ones((100, 2), bool)
    after = before.copy()
    after[:40, 1] = False
    gate = decide(before, after, Resampling(draws=999))
    assert not gate.passed
    # The draws have a standard deviation of about 0.05, so none is 0.4 from the mean: p = 1/1000, which Holm
    # multiplies by 4. The best variant is as good as before.
    assert gate.reasons == [
        "the mean accuracy over formats falls: 100.0% before, 80.0% after (-20.0 points, p = 0.004)",
        "the mean accuracy over the worst quarter of formats falls: 100.0% before, 60.0% after "
        "(-40.0 points, p = 0.004)",
        "the deviation between formats grows: 0.0% before, 28.1% after (+28.1 points, p = 0.004)",
    ]
    assert decide(after, before, Resampling(draws=99)).passed
    assert decide(after, after, Resampling(draws=99)).passed


def test_the_deviation_alone() -> None:
    """A better best variant increases the deviation between variants, but nothing falls."""
    before = np.zeros((100, 2), bool)
    after = before.copy()
    after[:40, 1] = True
    assert [reason.split(":")[0] for reason in decide(before, after, Resampling(draws=200)).reasons] == [
        "the deviation between formats grows"
    ]


def test_another_shape_seldom_fails() -> None:
    """Spread out before, two clusters after, with equal mean, best and sigma and a better worst quarter.

    The observed spread grows here in more than a quarter of cases, because more formats are tied.
    """
    line = np.linspace(-1, 1, 24)
    low = np.where(np.arange(24) < 18, -1 / 3, 1.0) * line.std() / (1 / 3) ** 0.5
    before, after = 0.6 + 0.1 * line, 0.6 + 0.1 * low
    failed = [not decide(*pair(before, after, n), Resampling(draws=200)).passed for n in range(40)]
    assert share(failed) <= 0.125
