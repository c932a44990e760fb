"""Plans of questions: their power, by simulation with the tests and intervals of the report."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

from steadyphi.stats import changes, paired, precision
from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.planning import ASSUMED, Design, OfFormat, OfMean, measured
from steadyphi.stats.simulated_power import OfExtreme, correlation, draw_runs

Bools = NDArray[np.bool_]
SMALL = Design(tuple(np.linspace(0.5, 0.7, 6).tolist()), changed=0.25, shared=0.4, differing=0.2)


def power_of(shown: list[bool]) -> float:
    return float(np.mean(shown))


def runs(design: Design, change: float, questions: int, count: int) -> list[tuple[Bools, Bools]]:
    """Return simulated runs, before and after all formats gain `change`."""
    rng = np.random.default_rng(0)
    after = np.array(design.accuracies) + change
    return [draw_runs(design, after, questions, rng) for _ in range(count)]


def test_the_mean_is_shown_as_often_as_planned() -> None:
    questions, shown = OfMean(SMALL, 0.05, 0.8).needed(0.06), list[bool]()
    assert questions is not None
    for before, after in runs(SMALL, 0.06, questions, 300):
        arrays = {"correct": before}, {"correct": after}
        low = changes.tested_change(CATALOGUE["accuracy_mean"], *arrays, Resampling(draws=200)).low
        shown.append(low > 0)
    assert power_of(shown) == pytest.approx(0.8, abs=0.07)  # three standard errors


@pytest.mark.parametrize("tests", [1, 6])
def test_a_format_is_shown_as_often_as_planned(tests: int) -> None:
    questions = OfFormat(SMALL, 0.05 / tests, 0.8).needed(0.1)
    assert questions is not None
    replicates = runs(SMALL, 0.1, questions, 400)
    shown = [paired.mcnemar(before[:, 2], after[:, 2]) <= 0.05 / tests for before, after in replicates]
    assert power_of(shown) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("key", ["accuracy_worst_quarter", "spread"])
def test_an_extreme_is_shown_as_often_as_planned(key: str) -> None:
    test = OfExtreme(SMALL, 0.05, 0.8, CATALOGUE[key])
    questions = test.needed(0.1)
    after = test.after(0.1)
    assert questions is not None and after is not None
    rng, shown = np.random.default_rng(5), list[bool]()
    for n in range(200):
        before, now = draw_runs(SMALL, after, questions, rng)
        arrays = {"correct": before}, {"correct": now}
        change = changes.tested_change(test.measure, *arrays, Resampling(draws=200, seed=n))
        low, high = change.low, change.high
        shown.append(low > 0 or high < 0)
    # The number of questions is itself simulated, and rounded up.
    assert 0.7 < power_of(shown) < 0.92
    assert test.detectable(questions) == pytest.approx(0.1, rel=0.12)


def test_the_worst_format_cannot_fall_below_zero() -> None:
    low = Design((0.02, 0.5, 0.6, 0.7), 0.3, 0.3, 0.3)
    test = OfExtreme(low, 0.05, 0.8, CATALOGUE["spread"])
    assert test.needed(0.05) is None and test.detectable(100) is None


def test_numbers_of_questions_by_hand() -> None:
    # (1.95996 sqrt(m) + 0.84162 sqrt(m - d^2))^2 / d^2 with m = 0.25 (1 + 5 * 0.4) / 6 + 0.05^2 = 0.1275.
    root = 1.959964 * 0.1275**0.5 + 0.841621 * 0.125**0.5
    assert OfMean(SMALL, 0.05, 0.8).needed(0.05) == int(np.ceil((root / 0.05) ** 2))
    assert SMALL.mean_square(0.3, 1) == pytest.approx(0.25 + 0.09)
    # A change of 50 or 90 points changes at least 50% or 90% of the answers; one of 95 at most all.
    few = dataclasses.replace(SMALL, changed=0.01)
    assert [few.mean_square(d, 1) for d in (0.5, 0.9)] == pytest.approx([0.5, 0.9])
    assert dataclasses.replace(SMALL, changed=0.4).mean_square(0.95, 1) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", [OfMean, OfFormat])
def test_detectable_is_the_inverse(kind: type[OfMean] | type[OfFormat]) -> None:
    test = kind(ASSUMED, 0.05, 0.8)
    change = test.detectable(300)
    assert change is not None and not test.shows(change - 0.001, 300)
    needed, more = test.needed(change), test.needed(change - 0.001)
    assert needed is not None and more is not None and needed <= 300 < more
    assert test.detectable(2) is None


def test_mcnemar_power_by_simulation() -> None:
    rng = np.random.default_rng(0)
    shares = [(0.3 + 0.1) / 2, (0.3 - 0.1) / 2, 0.7]
    won, lost = rng.multinomial(150, shares, size=4000).T[:2]
    pairs, times = np.unique(np.column_stack([won, lost]), axis=0, return_counts=True)
    rejected = [paired.mcnemar(*_pair(int(w), int(n))) <= 0.05 for w, n in pairs]
    assert precision.mcnemar_power(0.3, 0.1, 150) == pytest.approx(times @ rejected / 4000, abs=0.025)


def _pair(won: int, lost: int) -> tuple[Bools, Bools]:
    first = np.r_[np.zeros(won, bool), np.ones(lost, bool)]
    return first, ~first


@pytest.mark.parametrize("accuracy", [0.2, 0.65])
def test_correlation_of_a_discordance(accuracy: float) -> None:
    r = correlation(0.2, accuracy)
    both = multivariate_normal.cdf([norm.ppf(accuracy)] * 2, cov=[[1, r], [r, 1]])
    assert 2 * (accuracy - both) == pytest.approx(0.2, abs=1e-5)
    assert correlation(0.9, accuracy) == 0.0


@pytest.mark.parametrize("design", [SMALL, ASSUMED])
def test_simulated_runs_have_the_numbers_of_the_design(design: Design) -> None:
    """Drawn and measured again. The accuracies are not equal, so the numbers agree nearly."""
    before, after = draw_runs(design, np.array(design.accuracies), 20_000, np.random.default_rng(1))
    again = measured(before, after)
    assert again.accuracies == pytest.approx(design.accuracies, abs=0.015)
    assert (again.changed, again.differing) == pytest.approx((design.changed, design.differing), abs=0.02)
    assert again.shared == pytest.approx(design.shared, abs=0.04)


def test_one_run_as_a_pilot() -> None:
    before, _ = draw_runs(SMALL, np.array(SMALL.accuracies), 2000, np.random.default_rng(2))
    design = measured(before)
    assert design.changed == design.differing == precision.discordance(before)
    assert design.shared == ASSUMED.shared


def test_noise_is_not_taken_for_a_spread() -> None:
    flat = Design((0.6,) * 6, 0.3, 0.3, 0.3)
    before, after = draw_runs(flat, np.full(6, 0.6), 100, np.random.default_rng(3))
    assert np.ptp(measured(before, after).accuracies) < np.ptp(before.mean(axis=0)) - 0.02


def test_runs_that_are_equal() -> None:
    answers = np.arange(40).reshape(20, 2) % 3 == 0
    design = measured(answers, answers)
    assert (design.changed, design.shared) == (0.0, 0.0)
    # Every change is then in one direction: 5% of the answers, as `questions_needed` counts them.
    assert OfFormat(design, 0.05, 0.8).shows(0.05, 300) and not OfFormat(design, 0.05, 0.8).shows(0.05, 60)


def test_another_number_of_formats() -> None:
    assert SMALL.resized(3).accuracies == pytest.approx((0.5, 0.6, 0.7))
    assert SMALL.resized(6).accuracies == pytest.approx(SMALL.accuracies)
