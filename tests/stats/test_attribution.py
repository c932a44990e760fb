"""Effects of atoms: exact if the truth is a sum, aliased factors named, and coverage of the intervals."""

from itertools import product

import numpy as np
import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.attribution import Attribution, attribute
from steadyphi.stats.bootstrap import Resampling
from tests.stats.simulated import share, simulated

SEPARATOR = {"colon": 0.04, "dash": -0.01, "tab": -0.03}
CASE = {"lower": -0.02, "title": 0.02}
ATOMS = [{"separator": s, "case": c, "shots": "0"} for s, c in product(SEPARATOR, CASE)]
TRUTH = np.array([0.6 + SEPARATOR[a["separator"]] + CASE[a["case"]] for a in ATOMS])


def exactly(accuracies: np.ndarray, items: int = 100) -> np.ndarray:
    """Return `correct` whose columns have exactly these accuracies."""
    return np.arange(items)[:, None] < np.round(accuracies * items)


def points(attribution: Attribution) -> dict[tuple[str, str], float]:
    return {(row.factor, row.level): row.points for row in attribution.effects}


def test_a_sum_is_recovered_exactly() -> None:
    attribution = attribute(exactly(TRUTH), ATOMS, Resampling(0.95, 50))
    expected = {("separator", s): v for s, v in SEPARATOR.items()} | {("case", c): v for c, v in CASE.items()}
    assert points(attribution) == pytest.approx(expected)
    assert attribution.aliased == [] and attribution.explained == pytest.approx(1)
    assert [row.variants for row in attribution.effects] == [2, 2, 2, 3, 3]  # shots do not vary


def test_unbalanced_and_in_any_order() -> None:
    order = [0, 1, 2, 4, 4, 5, 5, 5]
    attribution = attribute(exactly(TRUTH[order]), [ATOMS[n] for n in order], Resampling(0.95, 50))
    assert points(attribution)["separator", "tab"] == pytest.approx(-0.03)
    renamed = [{k: f"z{v}" if v == "colon" else v for k, v in ATOMS[n].items()} for n in order]
    other = attribute(exactly(TRUTH[order]), renamed, Resampling(0.95, 50))
    assert points(other)["separator", "zcolon"] == pytest.approx(points(attribution)["separator", "colon"])


def test_by_hand_without_a_sum() -> None:
    # Accuracies 0.9, 0.5 with a = x and 0.5, 0.5 with a = y: averages 0.7, 0.5, so +-0.1; b likewise. The sum
    # predicts 0.8, 0.6, 0.6, 0.4: residuals +-0.1, 4 * 0.01 of the total 0.09 + 3 * 0.01 = 0.12.
    atoms = [{"a": a, "b": b} for a, b in product("xy", "xy")]
    attribution = attribute(exactly(np.array([0.9, 0.5, 0.5, 0.5])), atoms, Resampling(0.95, 50))
    assert points(attribution) == pytest.approx(
        {("a", "x"): 0.1, ("a", "y"): -0.1, ("b", "x"): 0.1, ("b", "y"): -0.1}
    )
    assert attribution.explained == pytest.approx(1 - 0.04 / 0.12)


def test_what_cannot_be_told_apart_is_shared_and_named() -> None:
    # gap and case always change together: each gets half of the difference of 0.04 between lower and title.
    atoms = [atom | {"gap": {"lower": "none", "title": "line"}[atom["case"]]} for atom in ATOMS]
    attribution = attribute(exactly(TRUTH), atoms, Resampling(0.95, 50))
    assert attribution.aliased == ["case", "gap"]
    assert points(attribution)["case", "title"] == pytest.approx(0.01)
    assert points(attribution)["gap", "line"] == pytest.approx(0.01)
    assert points(attribution)["separator", "colon"] == pytest.approx(0.04)


def test_the_average_is_not_drawn_to_zero() -> None:
    """If a factor refines another, no effect is identified; effects are not larger than the differences."""
    atoms = [{"a": "p", "b": "x"}, {"a": "q", "b": "y"}, {"a": "r", "b": "y"}]
    attribution = attribute(exactly(np.array([0.62, 0.6, 0.58])), atoms, Resampling(0.95, 50))
    assert max(abs(value) for value in points(attribution).values()) < 0.03
    assert attribution.explained == pytest.approx(1)
    assert attribution.aliased == ["a", "b"]


def test_coverage() -> None:
    rng = np.random.default_rng(0)
    attributions = [attribute(simulated(TRUTH, 200, rng), ATOMS, Resampling(0.9, 200, n)) for n in range(120)]
    held = [
        row.low <= (SEPARATOR | CASE)[row.level] <= row.high
        for attribution in attributions
        for row in attribution.effects
    ]
    assert 0.86 <= share(held) <= 0.94
    assert np.mean([points(f)["separator", "colon"] for f in attributions]) == pytest.approx(0.04, abs=0.006)


def test_without_anything_to_compare() -> None:
    assert attribute(exactly(TRUTH[:1]), ATOMS[:1], Resampling(0.95)).effects == []
    assert attribute(np.ones((5, 6), bool), ATOMS, Resampling(0.95, 10)).explained == 0


@pytest.mark.parametrize("atoms", [ATOMS[:5], [*ATOMS[:5], {"separator": "tab"}]])
def test_atoms_that_do_not_fit(atoms: list[dict[str, str]]) -> None:
    with pytest.raises(SteadyPhiError, match="every factor"):
        attribute(exactly(TRUTH), atoms, Resampling(0.95))
