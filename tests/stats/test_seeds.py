"""The change over seeds: by hand, against known truths, and what is refused."""

import numpy as np
import pytest
from scipy.stats import t

from benchmarks.seeds import answers, coverage, trained
from steadyphi.errors import SteadyPhiError
from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.seeds import change_over_seeds

MEAN = CATALOGUE["accuracy_mean"]
DRAWS = Resampling(draws=2000)


def columns(*shares: float) -> np.ndarray:
    """Return answers (models, items, one format) of which these shares are right."""
    return np.arange(100)[:, None] < 100 * np.array(shares)[:, None, None]


def test_seeds_alone_give_the_t_interval() -> None:
    """Items of which all are answered alike have no noise."""
    runs = np.repeat([[[True]], [[False]], [[True]], [[True]]], 1000, axis=1)
    change = change_over_seeds(MEAN, np.zeros((1000, 1), dtype=bool), runs, DRAWS)
    half = t.isf(0.025, 3) * np.std([1, 0, 1, 1], ddof=1) / 2
    assert change.value == 0.75
    assert change.low == pytest.approx(0.75 - half, abs=0.01)
    assert change.high == 1  # clipped: no change of a share is greater


def test_equal_seeds_give_the_interval_of_one_run() -> None:
    base, run = columns(0.5, 0.75)
    change = change_over_seeds(MEAN, base, np.stack([run] * 3), DRAWS)
    half = 1.96 * np.std(run.astype(int) - base, ddof=1) / 10
    assert change.value == pytest.approx(0.25)
    assert (change.low, change.high) == (
        pytest.approx(0.25 - half, abs=0.01),
        pytest.approx(0.25 + half, abs=0.01),
    )


def test_items_of_each_seed_give_the_t_interval_of_the_changes() -> None:
    """The questions are part of what differs between the seeds, so they are not counted twice."""
    rng = np.random.default_rng(0)
    models = trained(5, 0.01, rng)
    base, tuned = answers(models, 80, rng), answers(models + 0.05, 80, rng)
    changes = (tuned.mean(axis=(1, 2)) - base.mean(axis=(1, 2))).tolist()
    low, high = t.interval(0.95, 4, np.mean(changes), np.std(changes, ddof=1) / 5**0.5)
    change = change_over_seeds(MEAN, base, tuned, DRAWS)
    assert (change.value, change.low, change.high) == pytest.approx(
        (np.mean(changes), low, high), rel=0.1, abs=2e-3
    )


def test_the_interval_holds() -> None:
    """With 3 seeds that differ by 4 points."""
    for own_items in (False, True):
        held = coverage(3, 100, 0.04, 60, 200, own_items)
        assert min(held.values()) >= 0.88, held


@pytest.mark.parametrize(
    ("key", "base", "tuned", "words"),
    [
        ("accuracy_mean", (9, 2), (1, 9, 2), "at least two seeds"),
        ("accuracy_mean", (9, 2), (9, 2), "at least two seeds"),
        ("accuracy_mean", (9, 3), (2, 9, 2), "ask all the same"),
        ("flip_rate", (9, 2), (2, 9, 2), "choose a measure of right answers"),
        ("sigma_format", (9, 2), (2, 9, 2), "choose a measure of right answers"),
    ],
)
def test_what_is_refused(key: str, base: tuple[int, ...], tuned: tuple[int, ...], words: str) -> None:
    with pytest.raises(SteadyPhiError, match=words):
        change_over_seeds(CATALOGUE[key], np.ones(base, dtype=bool), np.ones(tuned, dtype=bool))
