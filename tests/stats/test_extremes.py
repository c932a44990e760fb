"""The errors of extremes: by hand, at both limits, and how often their intervals hold."""

import numpy as np
import pytest

from steadyphi.stats import measures
from steadyphi.stats.bootstrap import Resampling, distributions, item_means
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.changes import Drawn, drawn_change
from steadyphi.stats.estimate import estimate
from steadyphi.stats.extremes import FROM_ENDS, extreme_errors, extreme_interval
from tests.stats.simulated import share, simulated

DRAWS = Resampling(draws=300, seed=1)
SPREAD_OUT = 0.6 + 0.15 * np.linspace(-1, 1, 14)
CLUSTERS = np.where(np.arange(14) < 7, 0.45, 0.75)


def test_the_worst_quarter_by_hand() -> None:
    correct = np.arange(10)[:, None] < np.array([1, 9, 3, 5, 7])  # accuracies 0.1, 0.9, 0.3, 0.5, 0.7
    assert measures.worst_quarter(correct) == pytest.approx(0.2)  # two of five
    assert measures.worst_quarter(correct[:, :4]) == pytest.approx(0.1)  # one of four
    assert measures.worst_quarter(correct[:, :1]) == pytest.approx(0.1)


@pytest.mark.parametrize("function", FROM_ENDS)
def test_without_ties_it_is_the_bootstrap(function) -> None:  # type: ignore[no-untyped-def]
    """The first errors are those of the measure itself on resampled items."""
    correct = simulated(SPREAD_OUT, 80, np.random.default_rng(0))
    resampling = Resampling(draws=4000)
    errors, _ = extreme_errors(function, correct, resampling)
    drawn = distributions({"": lambda a: function(a["correct"])}, {"correct": correct}, resampling)[""]
    quantiles = (0.05, 0.5, 0.95)
    expected = np.quantile(drawn - function(correct), quantiles)
    assert np.quantile(errors, quantiles) == pytest.approx(expected, abs=0.013)


def test_all_tied() -> None:
    """Two equal columns and one far away: the error of the best is the larger error of the two."""
    rng = np.random.default_rng(0)
    correct = rng.random((200, 3)) < [0.7, 0.7, 0.2]
    errors = item_means(correct, DRAWS) - correct.mean(axis=0)
    _, best = extreme_errors(measures.best_accuracy, correct, DRAWS)
    _, worst = extreme_errors(measures.worst_accuracy, correct, DRAWS)
    _, spread = extreme_errors(measures.spread, correct, DRAWS)
    assert best == pytest.approx(errors[:, :2].max(axis=1))
    assert worst == pytest.approx(errors[:, 2])
    assert spread == pytest.approx(best - worst)


def test_the_interval_by_hand() -> None:
    # Errors 0 to 100: the quantiles are 5 and 95 and the mean is 50. Errors -200 to -100: -195 and -105.
    drawn = np.arange(101.0)
    assert extreme_interval(60, [drawn], 0.9) == (60 - 95, 60 + 45)
    assert extreme_interval(60, [drawn, drawn - 200], 0.9) == (60 - 95, 60 + 195)


@pytest.mark.parametrize("truth", [np.full(14, 0.6), SPREAD_OUT, CLUSTERS], ids=["none", "out", "clusters"])
def test_coverage(truth: np.ndarray) -> None:
    """Where no variant differs, the basic interval of the spread covers half instead of 95%."""
    rng = np.random.default_rng(2)
    watched = [CATALOGUE[key] for key in ("spread", "accuracy_best", "accuracy_worst_quarter")]
    lowest = np.sort(truth)[:4].mean()
    true = {"spread": np.ptp(truth), "accuracy_best": truth.max(), "accuracy_worst_quarter": lowest}
    held: dict[str, list[bool]] = {key: [] for key in true}
    for seed in range(80):
        estimates = estimate(
            watched, {"correct": simulated(truth, 200, rng)}, Resampling(draws=200, seed=seed)
        )
        for key, interval in estimates.items():
            held[key].append(bool(interval.low - 1e-9 <= true[key] <= interval.high + 1e-9))
    assert {key: share(values) >= 0.88 for key, values in held.items()} == dict.fromkeys(true, True), held


def test_coverage_of_a_change_of_shape() -> None:
    """From spread out to two clusters with the same spread: the centred interval covers 70% here."""
    rng = np.random.default_rng(3)
    held, centred = [], []
    for seed in range(80):
        both = simulated(np.r_[SPREAD_OUT, CLUSTERS], 200, rng)
        runs = [{"correct": both[:, :14]}, {"correct": both[:, 14:]}]
        drawn = drawn_change(CATALOGUE["spread"], *runs, Resampling(draws=200, seed=seed))
        for values, draws in ((held, drawn), (centred, Drawn(drawn.change, drawn.errors[:1]))):
            low, high = draws.interval(0.95)
            values.append(bool(low <= 0 <= high))
    assert share(held) >= 0.9 and share(centred) < 0.85


def test_the_p_value_agrees_with_the_interval() -> None:
    """A fall is significant at 2.5% exactly if the 95% interval is below 0, up to one draw."""
    rng = np.random.default_rng(4)
    for shift in np.linspace(0, 0.2, 12):
        both = simulated(np.r_[SPREAD_OUT, SPREAD_OUT - shift], 100, rng)
        runs = [{"correct": both[:, :14]}, {"correct": both[:, 14:]}]
        drawn = drawn_change(CATALOGUE["accuracy_worst_quarter"], *runs, Resampling(draws=999))
        p_value, high = drawn.p_value(-1), drawn.interval(0.95)[1]
        assert (p_value <= 0.025) == (high < 0) or abs(p_value - 0.025) < 0.006
    assert drawn.p_value(1) == 1
