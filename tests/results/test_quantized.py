"""What quantized weights change: asked through an evaluation, counted by hand from the rows."""

import dataclasses
from pathlib import Path

import numpy as np

from benchmarks import phi_tiny
from steadyphi.evaluation import choices
from steadyphi.evaluation.run import run
from steadyphi.evaluation.suite import variants_of
from steadyphi.tokenizer import TextTokenizer
from tests.cli.made import Guesser
from tests.conftest import ROOT

TINY = ROOT / "assets" / "phi-tiny"


def test_the_formats_are_asked_again(tmp_path: Path) -> None:
    chosen = phi_tiny.settings(items=12)
    material = phi_tiny.material(chosen)
    settings = dataclasses.replace(
        chosen.evaluate,
        formats=("phi2", "phi2-newline", "question-pipe"),
        unseen=3,
        families=None,
        long=None,
        search=None,
        draws=100,
        open=None,
        quantized=(8, 4),
    )
    tokenizer, made = TextTokenizer(TINY), []

    def quantized(bits: int) -> Guesser:
        made.append(bits)
        return Guesser(tokenizer, {8: 0, 4: 1}[bits])

    outcome = run("base", Guesser(tokenizer, 0), material.items, material.shots, settings, quantized)
    assert made == [8, 4]
    same, other = outcome.result.quantized
    assert (same.bits, other.bits, same.changed) == (8, 4, 0.0)
    assert all(change.change == 0 for change in same.measures)
    rows = choices.evaluate(Guesser(tokenizer, 1), material.items, [], variants_of(settings), settings)
    for family, suffix in (("format", ""), ("unseen", "_unseen")):
        names = [row.name for row in outcome.result.variants if row.family == family]
        means = [
            [np.mean([row["correct"] for row in run if row["variant"] == name]) for name in names]
            for run in (outcome.scores, rows)
        ]
        spread = next(change for change in other.measures if change.key == f"spread{suffix}")
        assert [spread.before, spread.after] == [np.ptp(run) for run in means]
        assert spread.change == spread.after - spread.before and spread.low <= spread.change <= spread.high
    pairs = zip(outcome.scores, rows, strict=True)
    changed = [a["chosen"] != b["chosen"] for a, b in pairs if a["variant"] in settings.formats]
    assert other.changed == np.mean(changed) > 0
    assert run("base", Guesser(tokenizer, 0), material.items, [], settings).result.quantized == []
