"""The winner's curse: present on the items used for choosing, absent on held-out items."""

import numpy as np
import pytest

from steadyphi.stats.heldout import best_and_worst
from tests.stats.simulated import simulated


def test_by_hand() -> None:
    # Variant 0 is always right, 1 on the even items, 2 never: any half gives the same choices.
    even = np.arange(12) % 2 == 0
    ends = best_and_worst(np.column_stack([np.ones(12, bool), even, np.zeros(12, bool)]), 3)
    assert (ends.best, ends.worst, ends.spread) == (1, 0, 1)
    tied = best_and_worst(np.ones((6, 3), bool), 3)
    assert tied.best == tied.worst == 1 and tied.spread == 0


def test_equal_variants_have_no_spread_on_held_out_items() -> None:
    rng = np.random.default_rng(0)
    asked = [simulated(np.full(12, 0.6), 100, rng) for _ in range(60)]
    ends = [best_and_worst(correct, 20, n) for n, correct in enumerate(asked)]
    assert np.mean([correct.mean(axis=0).max() for correct in asked]) > 0.64
    assert np.mean([f.best for f in ends]) == pytest.approx(0.6, abs=0.02)
    assert np.mean([f.spread for f in ends]) == pytest.approx(0, abs=0.01)


def test_held_out_and_seen_bracket_the_truth() -> None:
    rng = np.random.default_rng(1)
    asked = [simulated(0.6 + 0.1 * np.linspace(-1, 1, 12), 100, rng) for _ in range(60)]
    ends = [best_and_worst(correct, 20, n) for n, correct in enumerate(asked)]
    shares = [correct.mean(axis=0) for correct in asked]
    assert np.mean([f.best for f in ends]) < 0.7 < np.mean([accuracies.max() for accuracies in shares])
    assert np.mean([accuracies.min() for accuracies in shares]) < 0.5 < np.mean([f.worst for f in ends])
    assert 0.14 < np.mean([f.spread for f in ends]) < 0.2


def test_seeded() -> None:
    correct = simulated(np.full(5, 0.6), 31, np.random.default_rng(2))
    assert best_and_worst(correct, 5, 1) == best_and_worst(correct, 5, 1) != best_and_worst(correct, 5, 2)
