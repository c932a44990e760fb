"""The bootstrap compared with formulas for means, and its coverage where items are clusters."""

import numpy as np
import pytest

from steadyphi.stats import measures
from steadyphi.stats.bootstrap import (
    Resampling,
    basic_interval,
    centred_interval,
    distributions,
    expanded,
    intervals,
    item_means,
    resamples,
)
from tests.stats.simulated import share, simulated

MEAN = {"mean": lambda arrays: float(arrays["correct"].mean())}
SPREAD = {"spread": lambda arrays: measures.spread(arrays["correct"])}


def test_intervals_by_hand() -> None:
    # Draws 0, 1, ... 100: the quantiles at 0.05 and 0.95 are 5 and 95, the mean is 50.
    drawn = np.arange(101.0)
    assert basic_interval(60, drawn, 0.9) == (2 * 60 - 95, 2 * 60 - 5)
    assert centred_interval(60, drawn, 0.9) == (60 + 5 - 50, 60 + 95 - 50)


def test_a_mean_over_items_has_its_textbook_error() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 2)) * [1, 3]
    drawn = item_means(values, Resampling(draws=4000, seed=1))
    assert drawn.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.01)
    assert drawn.std(axis=0) == pytest.approx(values.std(axis=0) / np.sqrt(300), rel=0.05)


def test_both_ways_of_drawing_agree() -> None:
    correct = simulated(np.array([0.5, 0.6, 0.7]), 100, np.random.default_rng(0))
    drawn = distributions(SPREAD, {"correct": correct}, Resampling(draws=2000))["spread"]
    other = np.ptp(item_means(correct, Resampling(draws=2000)), axis=1)
    assert np.quantile(drawn, [0.05, 0.5, 0.95]) == pytest.approx(
        np.quantile(other, [0.05, 0.5, 0.95]), abs=0.011
    )


def test_what_is_paired_stays_paired() -> None:
    cells = np.arange(35).reshape(7, 5)
    for drawn in resamples(
        {"one": cells, "two": np.repeat(cells[:, :, None], 2, axis=2)}, Resampling(draws=5), True
    ):
        assert (drawn["two"] == drawn["one"][:, :, None]).all()
        assert drawn["one"].shape == (7, 5)
    whole = [set(row) for row in cells.tolist()]  # items alone: each drawn row is a whole row
    assert all(
        set(row) in whole
        for drawn in resamples({"one": cells}, Resampling(draws=5))
        for row in drawn["one"].tolist()
    )


def test_drawing_variants_again_adds_their_variance() -> None:
    """If cells depend only on the variant, items add no variance and variants add sigma^2 / T."""
    correct = np.tile([True, True, False, False, False], (20, 1))
    fixed = distributions(MEAN, {"correct": correct}, Resampling(draws=50))["mean"]
    drawn = distributions(MEAN, {"correct": correct}, Resampling(draws=4000), redraw_variants=True)["mean"]
    assert np.ptp(fixed) == 0
    assert drawn.var() == pytest.approx(0.4 * 0.6 / 5, rel=0.08)


def test_coverage_where_items_are_clusters() -> None:
    """The interval for the mean accuracy has nominal coverage; one for independent cells does not."""
    rng = np.random.default_rng(3)
    held, naive = [], []
    for seed in range(150):
        correct = simulated(np.full(8, 0.6), 60, rng)
        interval = intervals(MEAN, {"correct": correct}, Resampling(0.9, 200, seed))["mean"]
        held.append(interval.low <= 0.6 <= interval.high)
        naive.append(abs(interval.value - 0.6) <= 1.645 * correct.std() / np.sqrt(correct.size))
    assert 0.83 <= share(held) <= 0.97
    assert share(naive) < 0.7


def test_the_spread_of_equal_variants_is_not_asserted() -> None:
    """Percentiles always lie above the true spread, 0; the basic interval removes most of this bias."""
    rng = np.random.default_rng(4)
    percentile, basic = [], []
    for seed in range(30):
        arrays = {"correct": simulated(np.full(24, 0.6), 200, rng)}
        drawn = distributions(SPREAD, arrays, Resampling(draws=200, seed=seed))["spread"]
        percentile.append(float(np.quantile(drawn, 0.025)))
        basic.append(basic_interval(SPREAD["spread"](arrays), drawn, 0.95)[0])
    assert min(percentile) > 0.04
    assert np.mean(basic) < 0.02


def test_seeded_and_cut_at_the_bounds() -> None:
    arrays = {"correct": np.arange(40)[:, None] < np.array([39, 38])}
    drawn = [
        distributions(MEAN, arrays, Resampling(draws=20, seed=seed))["mean"].tolist() for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    by_key = intervals(MEAN | SPREAD, arrays, Resampling(0.99, 200))
    assert by_key["mean"].high == 1 and by_key["spread"].low == 0
    with pytest.raises(ValueError, match="bounds"):
        intervals({"large": lambda arrays: 2.0}, arrays, Resampling(0.95, 10))


def test_expanded_levels() -> None:
    """z of the expanded level is sqrt(N / (N - 1)) t: sqrt(50 / 49) 2.0096 = 2.030 for 50 items."""
    assert expanded(0.95, 50) == pytest.approx(0.9576, abs=1e-4)
    assert expanded(0.95, 10**6) == pytest.approx(0.95, abs=1e-5)
    assert expanded(0.95, 1) == 0.95
