"""The recommendation if one prompt is better and if none is, and the coverage of its bounds."""

import numpy as np
import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.interval import Interval
from steadyphi.stats.recommendation import cheapest_of_the_best, recommend, regret_bound, selected_interval
from tests.stats.simulated import share, simulated

NAMES = [f"v{n}" for n in range(8)]
FREE = np.zeros(8)


def test_a_better_prompt_is_found_with_its_gain() -> None:
    rng = np.random.default_rng(0)
    truth = np.r_[0.5, np.full(6, 0.55), 0.7]
    recommended = [
        recommend(simulated(truth, 200, rng), NAMES, "v0", Resampling(0.95, 100, n)) for n in range(40)
    ]
    assert share([f.variant == "v7" for f in recommended]) > 0.9
    assert share([f.low <= 0.2 <= f.high for f in recommended]) > 0.85
    assert np.mean([f.gain for f in recommended]) == pytest.approx(0.2, abs=0.02)
    assert (recommended[0].chosen_on, recommended[0].tested_on) == (160, 200)


def test_without_a_better_one_the_default_stays() -> None:
    rng = np.random.default_rng(1)
    recommended = [
        recommend(simulated(np.full(8, 0.6), 100, rng), NAMES, "v3", Resampling(0.95, 50, n))
        for n in range(100)
    ]
    assert share([f.variant == "v3" for f in recommended]) >= 0.9
    kept = next(f for f in recommended if f.variant == "v3")
    assert (kept.gain, kept.low, kept.high) == (0, 0, 0) and kept.regret > 0


def test_a_gain_that_is_none_is_rare_and_its_interval_contains_0() -> None:
    """The plain interval of a difference is above 0 in all of these cases, although all are equally good."""
    rng = np.random.default_rng(6)
    recommended = [
        recommend(simulated(np.full(8, 0.6), 100, rng), NAMES, "v3", Resampling(0.95, 10, n))
        for n in range(150)
    ]
    replaced = [f for f in recommended if f.variant != "v3"]
    assert 0 < len(replaced) <= 15 and share([f.low <= 0 <= f.high for f in replaced]) > 0.7


def test_the_interval_of_a_selected_difference_holds() -> None:
    """Normal differences with a standard error of 5 points, looked at only if they are significant."""
    rng = np.random.default_rng(8)
    for true in (0.0, 0.05, 0.15):
        values = true + 0.05 * rng.normal(size=4000 if true else 20_000)
        plain = [Interval(v, v - 1.96 * 0.05, v + 1.96 * 0.05) for v in values if v > 1.96 * 0.05]
        held = [i.low <= true <= i.high for i in (selected_interval(p, 0.95) for p in plain[:300])]
        assert 0.91 < share(held) < 0.985
    far = selected_interval(Interval(0.5, 0.402, 0.598), 0.95)
    assert (far.low, far.high) == (pytest.approx(0.402, abs=0.002), pytest.approx(0.598, abs=0.002))


def test_the_gain_is_of_items_that_did_not_choose() -> None:
    """For equally good variants, the best on other items beats the default in only half of the cases."""
    rng = np.random.default_rng(5)
    recommended = [
        recommend(simulated(np.full(8, 0.6), 100, rng), NAMES, "v0", Resampling(0.05, 20, n))
        for n in range(100)
    ]
    assert share([f.variant == "v0" for f in recommended]) >= 0.45


def test_the_cheapest_among_the_best_by_hand() -> None:
    # Of 100 items 60, 57 and 50 are right, each set a subset of the one before. The standard error of the
    # second's difference from the best is sqrt((0.03 - 0.0009) / 100) = 0.017 < 0.03: it is not within one
    # error.
    nested = np.arange(100)[:, None] < np.array([60, 57, 50])
    assert cheapest_of_the_best(nested, np.array([9.0, 5.0, 1.0])) == 0
    # The second is right on 60 - 3 + 2 = 59 and discordant on 5: sqrt((0.05 - 0.0001) / 100) = 0.022 > 0.01.
    swapped = nested.copy()
    swapped[60:62, 1] = True
    assert cheapest_of_the_best(swapped, np.array([9.0, 5.0, 1.0])) == 1
    assert cheapest_of_the_best(swapped, np.zeros(3)) == 0
    assert cheapest_of_the_best(np.ones((10, 8), bool), FREE) == 0


def test_the_regret_is_bounded_whatever_is_chosen() -> None:
    """The 90% bounds hold for the luckiest of equally good variants and for the best of different ones."""
    rng = np.random.default_rng(2)
    for truth in (np.full(8, 0.6), 0.6 + 0.05 * np.linspace(-1, 1, 8)):
        held, bounds = [], []
        for seed in range(100):
            correct = simulated(truth, 100, rng)
            chosen = int(correct.mean(axis=0).argmax())
            bounds.append(regret_bound(correct, chosen, Resampling(0.9, 200, seed)))
            held.append(bool(truth.max() - truth[chosen] <= bounds[-1]))
        assert share(held) >= 0.9
        assert np.mean(bounds) < 0.25


def test_the_bound_by_hand() -> None:
    # Equal columns have equal errors, so no variant can be better.
    same = np.repeat(np.arange(20)[:, None] < 9, 3, axis=1)
    assert regret_bound(same, 1, Resampling(0.95, 50)) == 0
    # One is always right, one always wrong: the difference of 1 is certain.
    sure = np.repeat([[True, False]], 20, axis=0)
    assert (regret_bound(sure, 0, Resampling(0.95, 50)), regret_bound(sure, 1, Resampling(0.95, 50))) == (
        0,
        1,
    )


def test_seeded_and_checked() -> None:
    correct = simulated(np.full(8, 0.6), 50, np.random.default_rng(3))
    twice = [recommend(correct, NAMES, "v0", Resampling(0.95, 50, 1)) for _ in range(2)]
    assert twice[0] == twice[1]
    with pytest.raises(SteadyPhiError, match="v9: not among"):
        recommend(correct, NAMES, "v9", Resampling(0.95))
    with pytest.raises(SteadyPhiError, match="too few"):
        recommend(correct[:3], NAMES, "v0", Resampling(0.95))
