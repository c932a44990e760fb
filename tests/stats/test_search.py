"""The search on grids that are known in full."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.search import Method, SearchOutcome, search


class Oracle:
    """Scores cells from a known grid (items, variants) and records which cells were requested."""

    def __init__(self, correct: NDArray[np.bool_]) -> None:
        self.correct = correct
        self.asked: list[tuple[int, int]] = []

    def __call__(self, cells: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        self.asked += cells
        return np.array([self.correct[item, variant] for variant, item in cells])


def grid(
    seed: int, items: int, variants: int, deviation: float
) -> tuple[NDArray[np.bool_], list[dict[str, str]]]:
    """Return a grid with two factors, effects of single variants, and interactions of items and variants."""
    rng = np.random.default_rng([seed, items])
    first, second = np.arange(variants) % 3, np.arange(variants) // 3 % 5
    thetas = (
        rng.normal(0, deviation, 3)[first]
        + rng.normal(0, deviation, 5)[second]
        + rng.normal(0, deviation, variants)
    )
    logits = thetas - rng.normal(0, 1.5, items)[:, None] + rng.normal(0, 0.4, (items, variants))
    atoms = [{"case": str(a), "separator": str(b)} for a, b in zip(first, second, strict=True)]
    return rng.random((items, variants)) < expit(logits), atoms


def run(correct: NDArray[np.bool_], atoms: Any, budget: int, seed: int = 0, **options: Any) -> SearchOutcome:
    return search(Oracle(correct), atoms, len(correct), budget, seed, **options)


@pytest.mark.parametrize("seed", range(4))
def test_finds_the_best_and_the_worst(seed: int) -> None:
    correct, atoms = grid(seed, 100, 30, deviation=0.2)
    rng = np.random.default_rng(seed)
    correct[:, 7], correct[:, 11] = rng.random(100) < 0.95, rng.random(100) < 0.05
    outcome = run(correct, atoms, 900, seed)
    assert (outcome.best, outcome.worst) == (7, 11)
    # Both were scored in full, so nothing about them is uncertain.
    assert outcome.seen[:, [7, 11]].all()
    truth = correct[:, 7].mean() - correct[:, 11].mean()
    assert outcome.spread.low == pytest.approx(truth) == outcome.spread.high
    assert outcome.accuracies[7].low == outcome.accuracies[7].high == pytest.approx(correct[:, 7].mean())


def test_within_two_points_on_an_eighth_of_the_cells() -> None:
    errors = []
    for seed in range(3):
        correct, atoms = grid(seed, 300, 90, deviation=0.3)
        outcome = run(correct, atoms, correct.size // 8, seed)
        assert outcome.grid == 8 * outcome.cells == correct.size
        errors.append(abs(outcome.spread.value - np.ptp(correct.mean(axis=0))))
    assert np.median(errors) < 0.02


def test_spread_is_covered_and_so_are_the_variants() -> None:
    inside, variants = [], []
    for seed in range(20):
        correct, atoms = grid(seed, 60, 16, deviation=0.3)
        outcome = run(correct, atoms, 240, seed, confidence=0.8)
        truth = correct.mean(axis=0)
        inside.append(outcome.spread.low <= np.ptp(truth) <= outcome.spread.high)
        variants.append([a.low <= t <= a.high for a, t in zip(outcome.accuracies, truth, strict=True)])
    # 20 intervals of 80%: 16 expected with a standard deviation of 1.8; 320 variants, dependent.
    assert sum(inside) >= 12
    assert 0.7 < np.mean(variants) < 0.92


def test_no_winners_curse() -> None:
    """If all variants are equal, the full grid shows a spread, but other items would not."""
    shown, expected = [], []
    for seed in range(4):
        correct = np.random.default_rng(seed).random((80, 24)) < 0.5
        outcome = run(correct, grid(0, 80, 24, deviation=0.3)[1], 480, seed)
        shown.append(correct[:, outcome.best].mean() - correct[:, outcome.worst].mean())
        expected.append(outcome.expected.value)
        assert outcome.expected.low <= 0.02
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
    correct, atoms = grid(seed, items, variants, deviation=0.5)
    oracle, budget = Oracle(correct), variants + extra
    outcome = search(oracle, atoms, items, budget, seed, method, step, batch)
    assert len(set(oracle.asked)) == len(oracle.asked) == outcome.cells == min(budget, items * variants)
    assert sorted(oracle.asked) == sorted((int(v), int(i)) for i, v in np.argwhere(outcome.seen))
    assert np.array_equal(outcome.correct, correct & outcome.seen)
    assert {variant for variant, _ in oracle.asked} == set(range(variants))
    assert all(0 <= a.low <= a.high <= 1 for a in outcome.accuracies)


@pytest.mark.parametrize("method", ["thompson", "balanced"])
def test_the_whole_grid_is_exact(method: Method) -> None:
    correct, atoms = grid(5, 20, 6, deviation=0.8)
    outcome = run(correct, atoms, 10**6, method=method)
    truth = correct.mean(axis=0)
    assert outcome.cells == outcome.grid == 120
    assert [a.value for a in outcome.accuracies] == pytest.approx(list(truth))
    assert outcome.spread.low == outcome.spread.value == outcome.spread.high == pytest.approx(np.ptp(truth))
    assert outcome.quantiles["50"] == pytest.approx(np.median(truth))
    assert outcome.trajectory[-1].difference == pytest.approx(np.ptp(truth))


def test_the_seed_decides() -> None:
    correct, atoms = grid(1, 60, 12, deviation=0.4)
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
    outcome = run(np.full((30, 5), answer), [{"case": "lower"}] * 5, 60)
    assert outcome.best in range(5) and outcome.accuracies[0].value == pytest.approx(float(answer), abs=0.05)
    assert outcome.expected.value < 0.02


def test_two_variants_without_atoms() -> None:
    correct = np.column_stack([np.arange(40) % 4 == 0, np.arange(40) % 4 != 0])
    outcome = run(correct, [{}, {}], 40)
    assert (outcome.best, outcome.worst) == (1, 0)


def test_too_small_a_budget_or_grid() -> None:
    with pytest.raises(SteadyPhiError, match=r"budget of 9 cells.*at least 10"):
        run(np.ones((3, 10), dtype=bool), [{}] * 10, 9)
    with pytest.raises(SteadyPhiError, match="at least two variants"):
        run(np.ones((3, 1), dtype=bool), [{}], 9)
