"""The catalogue: one entry per measure, from which the documentation, the gate and the summary follow."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

from scripts import document_measures
from steadyphi.stats import catalogue, gate
from steadyphi.stats.bootstrap import Resampling, Statistic
from steadyphi.stats.catalogue import CATALOGUE, of_scope, used_in
from steadyphi.stats.estimate import Measure, estimate
from tests.conftest import ROOT
from tests.stats.simulated import simulated

N, T, K = 12, 4, 3
RNG = np.random.default_rng(0)
CORRECT = simulated(np.array([0.4, 0.5, 0.6, 0.7]), N, RNG)
SHARES = RNG.dirichlet(np.ones(K), (N, T))
ARRAYS = {
    "correct": CORRECT,
    "default": CORRECT[:, :1],
    "panel_correct": CORRECT,
    "begun_correct": CORRECT,
    "chosen": SHARES.argmax(axis=2),
    "chosen_again": SHARES.argmax(axis=2),
    "probabilities": SHARES,
    "probability": SHARES[:, :, 0],
    "confidence": SHARES.max(axis=2),
    "logprobs": np.log(SHARES),
    "tokens": np.full((N, T, K), 2),
    "answer": np.zeros(N, dtype=int),
    "choices": np.full(N, K),
    "chosen_at": RNG.integers(K, size=(N, T)),
    "right_at": RNG.integers(K, size=(N, T)),
    "right": np.ones((N, 1), dtype=int),
    "asked": np.full((N, 1), 2),
    "cut_short": CORRECT[:, 0],
    "lengths": np.full(N, 6),
    "reference_lengths": np.full(N, 4),
}


@pytest.mark.parametrize("key", CATALOGUE)
def test_every_entry_is_whole_and_can_be_computed(key: str) -> None:
    measure = CATALOGUE[key]
    assert measure.key == key and measure.name and measure.meaning.endswith(".")
    assert len(inspect.signature(measure.function).parameters) or measure.function is np.mean
    (interval,) = estimate([measure], ARRAYS, Resampling(0.9, 30)).values()
    low, high = measure.bounds
    assert low <= interval.value <= high
    if measure.kind in ("bootstrap", "pigeonhole", "item mean", "own interval"):
        assert low <= interval.low <= interval.high <= high
    else:
        assert np.isnan([interval.low, interval.high]).all()


def test_names_are_distinct() -> None:
    assert len({measure.name for measure in CATALOGUE.values()}) == len(CATALOGUE)


def test_what_is_summarized_or_watched_has_a_label_and_a_direction() -> None:
    for use in ("summary", "verdict", "gate"):
        for measure in used_in(use):  # type: ignore[arg-type]
            assert measure.label and measure.worse, measure.key
    assert {measure.arrays for measure in used_in("gate")} == {("correct",)}  # all that the gate gets


def test_the_documentation_is_the_catalogues() -> None:
    page = document_measures.PAGE.read_text(encoding="utf-8")
    assert document_measures.with_table(page) == page, "run python scripts/document_measures.py"


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_committed_metrics_have_the_catalogues_keys(which: str) -> None:
    keys = set(json.loads((ROOT / "metrics" / f"evaluate-{which}.json").read_text()))
    assert keys - {"items", "formats", "chance"} <= set(CATALOGUE)
    always = {measure.key for measure in of_scope("formats", "several formats")}
    assert always <= keys


def test_one_entry_adds_a_measure_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The gate watches a new measure, and the table of docs/metrics.md has a row for it."""

    def median(correct: np.ndarray) -> float:
        return float(np.median(correct.mean(axis=0)))

    added = Measure(
        *("accuracy_median", "Median accuracy", "share", "The median accuracy.", "", median, ("correct",)),
        worse=-1,
        label="median accuracy",
        uses=("summary", "gate"),
    )
    monkeypatch.setattr(catalogue, "CATALOGUE", {**CATALOGUE, added.key: added})
    before, after = np.ones((60, 3), dtype=bool), np.ones((60, 3), dtype=bool)
    after[:40, 1:] = False
    reasons = gate.decide(before, after, Resampling(draws=200)).reasons
    assert any(
        reason.startswith("the median accuracy falls: 100.0% before, 33.3% after") for reason in reasons
    )
    assert "| `accuracy_median` | Median accuracy | share | ↓ |" in document_measures.row(added)
    statistic: Statistic = added.value
    assert statistic({"correct": after}) == pytest.approx(1 / 3)
