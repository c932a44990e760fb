"""The comparison of base and tuned: numbers by hand, intervals by simulation, and invalid inputs."""

import dataclasses

import numpy as np
import pytest

from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.comparison import MeasureChange, adjusted, compare, measure_changes
from steadyphi.stats.gate import Gate
from steadyphi.stats.interval import mean_p_value
from steadyphi.stats.item_means import ITEM_MEANS
from steadyphi.stats.measures import fleiss_kappa
from steadyphi.stats.paired import paired_difference
from tests.stats.simulated import share, simulated

MEASURES = [CATALOGUE[key] for key in ("accuracy_mean", "spread", "flip_rate")]


def run(correct: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a run whose wrong answers are all choice 1."""
    return {"correct": correct, "chosen": (~correct).astype(int)}


def test_by_hand() -> None:
    # 50 items in two variants. Before: both variants have the same 32 items right. After: the second variant
    # loses 12 and gains 2, as in the example of the culture media of Armitage & Berry, so 22 are right.
    first = np.arange(50) < 32
    second = np.r_[np.ones(20, bool), np.zeros(12, bool), np.ones(2, bool), np.zeros(16, bool)]
    before, after = np.column_stack([first, first]), np.column_stack([first, second])
    comparison = compare(run(before), run(after), ["a", "b"], MEASURES, Resampling(0.95, 200))
    rows = {row.key: row for row in comparison.measures}
    assert rows["accuracy_mean"].before == pytest.approx(0.64)
    assert rows["accuracy_mean"].change == pytest.approx(-0.1)
    assert (rows["spread"].before, rows["spread"].after) == (0, pytest.approx(0.2))
    assert rows["flip_rate"].change == pytest.approx(14 / 50)
    assert rows["spread"].low < 0.2 < rows["spread"].high
    a, b = comparison.variants
    assert (a.name, a.change, a.p_holm) == ("a", 0, 1)
    assert (b.before, b.after) == (0.64, 0.44)
    assert b.p_holm == pytest.approx(2 * 212 / 2**14) and b.low < -0.2 < b.high
    assert comparison.alarms == [] and comparison.gate.passed is False
    assert len(comparison.gate.reasons) == 2  # the mean and the worst quarter; the best stays


def test_equal_runs() -> None:
    same = run(simulated(np.array([0.5, 0.6]), 30, np.random.default_rng(0)))
    logprobs = {"logprobs": np.zeros((30, 2, 2))}
    comparison = compare(same | logprobs, same | logprobs, ["a", "b"], MEASURES, Resampling(0.95, 50))
    assert all(row.change == row.low == row.high == 0 for row in comparison.measures)
    assert "log-probabilities equal the base model's" in comparison.alarms[0]
    assert comparison.gate == Gate(True, [])
    alarms = compare(same, same, ["a", "b"], [], Resampling(0.95, 50)).alarms
    assert "answers equal the base model's in all 60 cases" in alarms[0]


def test_coverage_of_a_change() -> None:
    """The items are paired; an interval for independent runs would be twice as wide here."""
    rng = np.random.default_rng(1)
    truth = np.r_[np.full(6, 0.55), np.full(6, 0.65)]
    held, widths = [], []
    for seed in range(120):
        both = simulated(truth, 80, rng, difficulty=3.0)
        mean = [CATALOGUE["accuracy_mean"]]
        resampling = Resampling(0.9, 150, seed)
        (row,) = measure_changes(run(both[:, :6]), run(both[:, 6:]), mean, resampling)
        held.append(row.low <= 0.1 <= row.high)
        widths.append(row.high - row.low)
    assert 0.83 <= share(held) <= 0.97
    assert np.mean(widths) < 0.1


def test_unseen_formats_and_panels_have_the_same_intervals() -> None:
    """The measures over other sets of formats are drawn as those over the named formats."""
    both = simulated(np.r_[np.full(6, 0.55), np.linspace(0.5, 0.7, 6)], 80, np.random.default_rng(2))
    runs = [run(side) | {"panel_correct": side} for side in (both[:, :6], both[:, 6:])]
    pairs = {
        "spread": ("spread_unseen", "spread_unseen_panel"),
        "accuracy_worst": ("accuracy_worst_unseen",),
        "accuracy_mean": ("accuracy_unseen", "accuracy_unseen_panel"),
    }
    for key, others in pairs.items():
        known, *same = measure_changes(*runs, [CATALOGUE[k] for k in (key, *others)], Resampling(draws=100))
        assert known.low is not None and known.high is not None and known.low < known.change < known.high
        assert [dataclasses.replace(row, key=key) for row in same] == [known] * len(same)


def test_a_share_of_items_has_newcombes_interval() -> None:
    """No draws are needed, and the interval of a share near 1 stays wide enough."""
    before, after = np.ones((50, 2), bool), np.ones((50, 2), bool)
    after[0, 0] = False
    (row,) = measure_changes(
        run(before), run(after), [CATALOGUE["right_in_all_formats"]], Resampling(draws=2)
    )
    expected = paired_difference(before[:, 0], after[:, 0], 0.95)
    assert (row.change, row.low, row.high) == (expected.value, expected.low, expected.high)
    assert row.low < -0.08 and row.high > 0


def test_q_values_by_hand() -> None:
    """Benjamini & Hochberg 1995, section 3.2: of 15 p-values, the first four are significant at 5%."""
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p_values += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    rows = [MeasureChange("spread", 0, 0, 0, 0, 0, p) for p in p_values]
    unknown = MeasureChange("spread", 0, 0, 0, None, None)
    q_values = [row.q_value for row in adjusted([*rows[:3], unknown, *rows[3:]])]
    assert q_values.pop(3) is None
    assert q_values[3] == pytest.approx(15 / 4 * 0.0095) and q_values[4] == pytest.approx(15 / 5 * 0.0201)
    assert [q < 0.05 for q in q_values] == [True] * 4 + [False] * 11


def test_a_p_value_agrees_with_the_interval() -> None:
    """For each kind of interval, p is below 5% where 0 is outside, up to small differences near it."""
    rng = np.random.default_rng(5)
    keys = ("accuracy_mean", "spread", "accuracy_worst", "flip_rate", "right_in_all_formats", "fleiss_kappa")
    significant = 0
    for shift in np.linspace(0, 0.25, 12):
        both = simulated(np.r_[np.full(4, 0.6), 0.6 - shift * np.arange(4) / 3], 100, rng)
        sides = run(both[:, :4]), run(both[:, 4:])
        for row in measure_changes(*sides, [CATALOGUE[key] for key in keys], Resampling(draws=999)):
            assert (row.p_value < 0.05) == (row.low * row.high > 0) or abs(row.p_value - 0.05) < 0.03, row
            significant += row.p_value < 0.05
    assert 12 < significant < 60


def test_a_measure_that_is_not_a_number() -> None:
    def defined(correct: np.ndarray) -> float:
        return float(correct.mean()) if correct.any() else float("nan")

    measure = dataclasses.replace(CATALOGUE["spread"], key="none", function=defined)
    right, wrong = run(np.eye(4, 2, dtype=bool)), run(np.zeros((4, 2), bool))
    (row,) = measure_changes(right, right, [measure], Resampling(0.95, 20))
    assert row.change == 0 and row.low is None and row.high is None and row.p_value is None
    assert measure_changes(right, wrong, [measure], Resampling(0.95, 20)) == []


def test_a_rounding_error_is_no_change() -> None:
    """Other names of the choices leave kappa, but for errors of 1e-16, most of the same sign here."""
    chosen = np.random.default_rng(29).integers(3, size=(21, 5))
    before, after = {"chosen": chosen}, {"chosen": (chosen + 1) % 3}
    of_items = ITEM_MEANS[fleiss_kappa]
    errors = of_items(after["chosen"]) - of_items(before["chosen"])
    assert mean_p_value(errors) < 1e-6
    (row,) = measure_changes(before, after, [CATALOGUE["fleiss_kappa"]], Resampling())
    assert (str(row.change), row.low, row.high, row.p_value) == ("0.0", 0.0, 0.0, 1.0)
