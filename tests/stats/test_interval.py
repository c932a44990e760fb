"""Intervals compared with published ones and with SciPy's."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from steadyphi.stats.interval import accuracy, mean_interval, mean_p_value

pytestmark = pytest.mark.filterwarnings("error")


def test_wilson_interval_as_published() -> None:
    """Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857, table I, method 3 (score)."""
    for right, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        correct = np.arange(of)[:, None] < right
        (interval,) = accuracy(correct, 0.95)
        assert interval.value == right / of
        assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize("items", [2, 30])
def test_student_and_wilson_as_in_scipy(items: int) -> None:
    values = np.random.default_rng(1).normal(0.3, 1, items)
    interval, expected = mean_interval(values, 0.9), ttest_1samp(values, 0)
    ends = expected.confidence_interval(0.9)
    assert (interval.low, interval.high) == (pytest.approx(ends.low), pytest.approx(ends.high))
    assert mean_p_value(values) == pytest.approx(expected.pvalue)
    for right in (0, 1, items):
        (share,) = accuracy(np.arange(items)[:, None] < right, 0.9)
        wilson = binomtest(right, items).proportion_ci(0.9, method="wilson")
        assert (share.low, share.high) == (pytest.approx(wilson.low), pytest.approx(wilson.high))


def test_student_at_the_limits() -> None:
    assert np.isnan([mean_interval(np.ones(1), 0.9).low, mean_p_value(np.ones(1))]).all()
    assert [mean_p_value(np.full(3, value)) for value in (0.0, 0.5)] == [1, 0]
