"""Tests and intervals for pairs: published examples, cases by hand, and coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.stats.interval import mean_interval
from steadyphi.stats.paired import Change, changes, few_differences, holm, mcnemar, paired_difference
from tests.stats.simulated import share, simulated


def table(both: int, lost: int, won: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two columns with these counts; `lost` pairs are right in the first only, `won` in the second."""
    first = np.repeat([True, True, False, False], [both, lost, won, neither])
    second = np.repeat([True, False, True, False], [both, lost, won, neither])
    return first, second


def test_mcnemar_by_hand_and_as_published() -> None:
    # 12 against 2: 2 P(X <= 2 of 14) = 2 (1 + 14 + 91) / 2^14. The example of two culture media in Armitage &
    # Berry 1994, p. 127; StatsDirect gives 0.0129.
    assert mcnemar(*table(20, 12, 2, 16)) == pytest.approx(212 / 2**14)
    # 5 against 0: 2 / 2^5.
    assert mcnemar(*table(14, 5, 0, 22)) == pytest.approx(2 / 32)
    assert mcnemar(*table(3, 0, 0, 2)) == 1
    assert mcnemar(*table(3, 4, 4, 2)) == 1


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04; times 3, 2, 1: 0.03, 0.06, 0.04, but the last may not be below the one before.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_holm_lies_between_no_correction_and_bonferronis(values: list[float]) -> None:
    holms = holm(values)
    for plain, adjusted in zip(values, holms, strict=True):
        assert min(plain, 1) <= adjusted <= min(1, plain * len(values))
    order = np.argsort(values)
    assert (np.diff(np.array(holms)[order]) >= 0).all()


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Cavo et al. 2012, from the tests of the R package contingencytables for this method.
        ((59, 6, 16, 80), -0.1186, -0.0046),
        # Newcombe 1998, one of his contrasting examples.
        ((36, 12, 2, 0), 0.0569, 0.3404),
    ],
)
def test_newcombes_interval_as_published(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    first, second = table(*counts)
    interval = paired_difference(second, first, 0.95)  # his difference is the first minus the second
    assert interval.value == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.tuples(*[st.integers(0, 20)] * 4).filter(lambda counts: sum(counts) > 0))
@settings(max_examples=60, deadline=None)
def test_swapping_the_pair_reverses_the_interval(counts: tuple[int, int, int, int]) -> None:
    first, second = table(*counts)
    forward, reversed_ = paired_difference(first, second, 0.9), paired_difference(second, first, 0.9)
    assert (forward.value, forward.low, forward.high) == pytest.approx(
        (-reversed_.value, -reversed_.high, -reversed_.low)
    )
    assert -1 - 1e-9 <= forward.low <= forward.value <= forward.high <= 1 + 1e-9


def test_coverage() -> None:
    rng = np.random.default_rng(0)
    pairs = [simulated(np.array([0.5, 0.6]), 80, rng) for _ in range(400)]
    intervals = [paired_difference(pair[:, 0], pair[:, 1], 0.9) for pair in pairs]
    assert 0.86 <= share([f.low <= 0.1 <= f.high for f in intervals]) <= 0.95


def test_equal_columns_differ_by_nothing() -> None:
    interval = paired_difference(*table(3, 0, 0, 4), 0.95)
    assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_rows() -> None:
    default, other = table(20, 12, 2, 16)
    rows = changes(np.column_stack([default, default]), np.column_stack([other, default]), 0.95)
    assert rows[0].change == pytest.approx(-0.2)
    assert rows[0].p_holm == pytest.approx(2 * 212 / 2**14)  # two tests
    assert rows[1] == Change(0, 0, 0, 1)
    three = np.column_stack([default, other, default])
    assert changes(three, three[:, [0, 0, 0]], 0.95)[1].p_holm == pytest.approx(3 * 212 / 2**14)


@pytest.mark.parametrize("items", [6, 20])
@pytest.mark.parametrize(("before", "after"), [(0.03, 0.1), (0.5, 0.5), (0.9, 0.95), (0.2, 0.9)])
def test_coverage_for_few_items(items: int, before: float, after: float) -> None:
    """Nine prompts of each item. Student's interval holds in 70% to 90% of the first and third case."""
    rng, accuracies = np.random.default_rng(8), np.repeat([before, after], 9)
    held, plain, wrong = [], [], []
    for _ in range(300):
        right = simulated(accuracies, items, rng).reshape(items, 2, 9).mean(axis=2)
        interval, p_value = few_differences(right[:, 1] - right[:, 0], 0.95)
        held.append(interval.low <= after - before <= interval.high)
        student = mean_interval(right[:, 1] - right[:, 0], 0.95)
        plain.append(student.low <= after - before <= student.high)
        wrong.append((p_value < 0.05) != (interval.low * interval.high > 0))
    assert share(held) >= 0.93 and not any(wrong)
    if before in (0.03, 0.9):
        assert share(plain) < 0.93
