"""The search on grids whose every cell is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.search import Found, Method, search


class Oracle:
    """Answers from a known grid (items, variants) and remembers what it was asked."""

    def __init__(self, correct: NDArray[np.bool_]) -> None:
        self.correct = correct
        self.asked: list[tuple[int, int]] = []

    def __call__(self, cells: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        self.asked += cells
        return np.array([self.correct[item, variant] for variant, item in cells])


def grid(seed: int, items: int, variants: int, own: float) -> tuple[NDArray[np.bool_], list[dict[str, str]]]:
    """Two factors, effects of the variants themselves, and items that take the variants differently."""
    rng = np.random.default_rng([seed, items])
    first, second = np.arange(variants) % 3, np.arange(variants) // 3 % 5
    thetas = rng.normal(0, own, 3)[first] + rng.normal(0, own, 5)[second] + rng.normal(0, own, variants)
    logits = thetas - rng.normal(0, 1.5, items)[:, None] + rng.normal(0, 0.4, (items, variants))
    atoms = [{"case": str(a), "separator": str(b)} for a, b in zip(first, second, strict=True)]
    return rng.random((items, variants)) < expit(logits), atoms


def run(correct: NDArray[np.bool_], atoms: Any, budget: int, seed: int = 0, **options: Any) -> Found:
    return search(Oracle(correct), atoms, len(correct), budget, seed, **options)


@pytest.mark.parametrize("seed", range(4))
def test_finds_the_best_and_the_worst(seed: int) -> None:
    correct, atoms = grid(seed, 100, 30, own=0.2)
    rng = np.random.default_rng(seed)
    correct[:, 7], correct[:, 11] = rng.random(100) < 0.95, rng.random(100) < 0.05
    found = run(correct, atoms, 900, seed)
    assert (found.best, found.worst) == (7, 11)
    # Both were scored in full, so nothing about them is uncertain.
    assert found.seen[:, [7, 11]].all()
    truth = correct[:, 7].mean() - correct[:, 11].mean()
    assert found.spread.low == pytest.approx(truth) == found.spread.high
    assert found.accuracies[7].low == found.accuracies[7].high == pytest.approx(correct[:, 7].mean())


def test_within_two_points_on_an_eighth_of_the_cells() -> None:
    errors = []
    for seed in range(3):
        correct, atoms = grid(seed, 300, 90, own=0.3)
        found = run(correct, atoms, correct.size // 8, seed)
        assert found.grid == 8 * found.cells == correct.size
        errors.append(abs(found.spread.value - np.ptp(correct.mean(axis=0))))
    assert np.median(errors) < 0.02


def test_spread_is_covered_and_so_are_the_variants() -> None:
    inside, variants = [], []
    for seed in range(20):
        correct, atoms = grid(seed, 60, 16, own=0.3)
        found = run(correct, atoms, 240, seed, confidence=0.8)
        truth = correct.mean(axis=0)
        inside.append(found.spread.low <= np.ptp(truth) <= found.spread.high)
        variants.append([a.low <= t <= a.high for a, t in zip(found.accuracies, truth, strict=True)])
    # 20 intervals of 80%: 16 expected with a standard deviation of 1.8; 320 variants, dependent.
    assert sum(inside) >= 12
    assert 0.7 < np.mean(variants) < 0.92


def test_no_winners_curse() -> None:
    """Variants that are all alike: the full grid shows a spread, other items would not."""
    shown, expected = [], []
    for seed in range(4):
        correct = np.random.default_rng(seed).random((80, 24)) < 0.5
        found = run(correct, grid(0, 80, 24, own=0.3)[1], 480, seed)
        shown.append(correct[:, found.best].mean() - correct[:, found.worst].mean())
        expected.append(found.expected.value)
        assert found.expected.low <= 0.02
    assert np.mean(shown) > 0.08 and np.mean(expected) < 0.05


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(2, 9),
    st.integers(0, 120),
    st.integers(0, 3),
    st.sampled_from(["thompson", "balanced"]),
    st.integers(1, 30),
    st.integers(1, 50),
)
def test_budget_is_kept_and_no_cell_asked_twice(
    items: int, variants: int, extra: int, seed: int, method: Method, step: int, batch: int
) -> None:
    correct, atoms = grid(seed, items, variants, own=0.5)
    oracle, budget = Oracle(correct), variants + extra
    found = search(oracle, atoms, items, budget, seed, method, step, batch)
    assert len(set(oracle.asked)) == len(oracle.asked) == found.cells == min(budget, items * variants)
    assert sorted(oracle.asked) == sorted((int(v), int(i)) for i, v in np.argwhere(found.seen))
    assert np.array_equal(found.correct, correct & found.seen)
    assert {variant for variant, _ in oracle.asked} == set(range(variants))
    assert all(0 <= a.low <= a.high <= 1 for a in found.accuracies)


@pytest.mark.parametrize("method", ["thompson", "balanced"])
def test_the_whole_grid_is_exact(method: Method) -> None:
    correct, atoms = grid(5, 20, 6, own=0.8)
    found = run(correct, atoms, 10**6, method=method)
    truth = correct.mean(axis=0)
    assert found.cells == found.grid == 120
    assert [a.value for a in found.accuracies] == pytest.approx(list(truth))
    assert found.spread.low == found.spread.value == found.spread.high == pytest.approx(np.ptp(truth))
    assert found.quantiles["50"] == pytest.approx(np.median(truth))
    assert found.trajectory[-1].difference == pytest.approx(np.ptp(truth))


def test_the_seed_decides() -> None:
    correct, atoms = grid(1, 60, 12, own=0.4)
    oracles = [Oracle(correct) for _ in range(3)]
    first, again, other = (
        search(oracle, atoms, 60, 200, seed) for oracle, seed in zip(oracles, (3, 3, 4), strict=True)
    )
    assert oracles[0].asked == oracles[1].asked != oracles[2].asked
    assert (first.spread, first.expected, first.trajectory) == (
        again.spread,
        again.expected,
        again.trajectory,
    )
    assert [step.cells for step in other.trajectory] == sorted({step.cells for step in other.trajectory})


@pytest.mark.parametrize("answer", [True, False])
def test_all_equal(answer: bool) -> None:
    found = run(np.full((30, 5), answer), [{"case": "lower"}] * 5, 60)
    assert found.best in range(5) and found.accuracies[0].value == pytest.approx(float(answer), abs=0.05)
    assert found.expected.value < 0.02


def test_two_variants_without_atoms() -> None:
    correct = np.column_stack([np.arange(40) % 4 == 0, np.arange(40) % 4 != 0])
    found = run(correct, [{}, {}], 40)
    assert (found.best, found.worst) == (1, 0)


def test_too_little_is_said_plainly() -> None:
    with pytest.raises(SteadyPhiError, match=r"budget of 9 cells.*at least 10"):
        run(np.ones((3, 10), dtype=bool), [{}] * 10, 9)
    with pytest.raises(SteadyPhiError, match="at least two variants"):
        run(np.ones((3, 1), dtype=bool), [{}], 9)
