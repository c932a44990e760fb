"""The permutation test compared with enumeration and chi-squared, and its level."""

import numpy as np
import pytest
from scipy.stats import chi2

from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.catalogue import CATALOGUE, of_scope
from steadyphi.stats.permutation import variants_differ, without_preference
from tests.stats.simulated import share, simulated

POSITIONS = {measure.key: measure.value for measure in of_scope("option orders")}


def hundred(seed: int) -> Resampling:
    return Resampling(draws=99, seed=seed)


def test_against_enumeration() -> None:
    # Two items, each right in one of two variants: two of the four orders are as uneven as the observed one.
    assert variants_differ(np.array([[1, 0], [1, 0], [1, 1]], dtype=bool), Resampling()) == pytest.approx(
        1 / 2, abs=0.04
    )
    # Four items: 2 of 16 orders put all right answers in one column.
    assert variants_differ(np.array([[1, 0]] * 4, dtype=bool), Resampling()) == pytest.approx(
        2 / 16, abs=0.03
    )


def test_against_chi_squared() -> None:
    """For many items, Cochran's Q is approximately chi-squared with T - 1 degrees of freedom."""
    correct = simulated(0.6 + 0.03 * np.linspace(-1, 1, 6), 500, np.random.default_rng(5))
    columns, rows, variants = correct.sum(axis=0), correct.sum(axis=1), 6
    q = (variants - 1) * (variants * (columns**2).sum() - rows.sum() ** 2)
    q /= variants * rows.sum() - (rows**2).sum()
    expected = float(chi2.sf(q, variants - 1))
    assert 0.005 < expected < 0.5
    assert variants_differ(correct, Resampling(draws=1000, seed=1)) == pytest.approx(expected, abs=0.05)


def test_level_and_power() -> None:
    rng = np.random.default_rng(1)
    same = [variants_differ(simulated(np.full(6, 0.6), 60, rng), hundred(n)) <= 0.1 for n in range(200)]
    assert 0.04 <= share(same) <= 0.16
    apart = 0.6 + 0.15 * np.linspace(-1, 1, 6)
    assert share([variants_differ(simulated(apart, 100, rng), hundred(n)) <= 0.05 for n in range(20)]) > 0.8


def test_never_zero() -> None:
    """The p-value is positive, because the observed order is counted too."""
    assert variants_differ(np.repeat([[True, False]], 50, axis=0), hundred(0)) == 1 / 100


def test_no_difference_at_all() -> None:
    for correct in (np.ones((4, 3), dtype=bool), np.zeros((4, 1), dtype=bool)):
        assert variants_differ(correct, Resampling(draws=20)) == 1


TURNED = np.array([[0, 1], [1, 0]])  # where each of two choices is shown, in two orders


def expected(chosen: list[list[int]], draws: int = 2000) -> dict[str, float]:
    """Return the expected measures for items shown as in `TURNED`, with choice 0 as the right answer."""
    places = np.tile(TURNED, (len(chosen), 1, 1))
    return without_preference(POSITIONS, np.array(chosen), places, places[:, :, 0], Resampling(draws=draws))


def test_places_without_a_preference_by_hand() -> None:
    # An item answered once with 0 and once with 1 has both answers at place 0 or both at place 1. The right
    # answers are at both places, so the bias of one item is 1/2. For two items it is 1/2 if both have the
    # same place, else 0. For three it is 1/2 or 1/6.
    assert expected([[0, 1]])["position_bias"] == 1 / 2
    assert expected([[0, 1]] * 2)["position_bias"] == pytest.approx(1 / 4, abs=0.03)
    assert expected([[0, 1]] * 3)["position_bias"] == pytest.approx(1 / 4 * 1 / 2 + 3 / 4 * 1 / 6, abs=0.02)
    # The recalls are 1 and 0 if both items have the same place, else 1/2 and 1/2.
    assert expected([[0, 1]] * 2)["recall_deviation"] == pytest.approx(1 / 4, abs=0.03)


def test_one_answer_in_all_orders_shows_no_preference() -> None:
    assert expected([[0, 0], [1, 1], [1, 1]], 5) == {"position_bias": 0, "recall_deviation": 0}


def test_models_without_a_preference_have_what_is_expected() -> None:
    rng = np.random.default_rng(0)
    places = np.tile([[0, 1, 2], [1, 2, 0], [2, 0, 1]], (40, 1, 1))
    right_at = places[:, :, 0]
    seen, expected = [], []
    for seed in range(60):
        chosen = (rng.random((40, 3)) < 0.5) * rng.integers(3, size=(40, 1))
        chosen_at = np.take_along_axis(places, chosen[:, :, None], axis=2)[:, :, 0]
        seen.append(CATALOGUE["position_bias"].value({"chosen_at": chosen_at, "right_at": right_at}))
        expected.append(
            without_preference(POSITIONS, chosen, places, right_at, Resampling(draws=50, seed=seed))[
                "position_bias"
            ]
        )
    assert np.mean(expected) > 0.02
    assert np.mean(seen) == pytest.approx(np.mean(expected), rel=0.15)
