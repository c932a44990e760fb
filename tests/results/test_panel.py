"""Answers averaged with a panel: chosen on other questions, and beside a computation by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.special import softmax

from steadyphi.prompts.formats import Format
from steadyphi.prompts.variants import Variant
from steadyphi.results.answers import EvaluationAnswers
from steadyphi.results.panel import panel_correct

ITEMS, CHOICES = 40, 3


def answers(quality: dict[str, float], family: dict[str, Any] | None = None) -> EvaluationAnswers:
    """Return answers in formats whose log-probabilities favour the right choice by `quality` nats."""
    rng = np.random.default_rng(0)
    variants = [Variant(name, (family or {}).get(name, "format"), Format(name, name, "")) for name in quality]
    rows = []
    for n in range(ITEMS):
        answer = int(rng.integers(CHOICES))
        for variant in variants:
            logprobs = rng.normal(size=CHOICES)
            logprobs[answer] += quality[variant.name]
            chosen = int(logprobs.argmax())
            row = {"item": str(n), "skill": "", "variant": variant.name, "answer": answer, "chosen": chosen}
            row |= {"correct": chosen == answer, "logprobs": logprobs.tolist(), "tokens": [1] * CHOICES}
            rows.append(row | {"free": None, "begun": None, "places": None})
    settings: Any = SimpleNamespace(scorer="raw")
    tokenizer: Any = None
    return EvaluationAnswers(rows, [], variants, [], [], tokenizer, settings)


QUALITY = {"good": 3.0, "better": 4.0, "bad": 0.0, "new": 0.5}


def test_each_half_is_averaged_with_the_best_two_of_the_other() -> None:
    given = answers(QUALITY, {"new": "unseen"})
    correct = panel_correct(given, "unseen")
    assert correct is not None and correct.shape == (ITEMS, 1)
    table = {(row["item"], row["variant"]): row for row in given.scores}
    for n in range(ITEMS):
        others = [m for m in range(ITEMS) if m % 2 != n % 2]
        shares = {
            v: np.mean([table[str(m), v]["correct"] for m in others]) for v in ("good", "better", "bad")
        }
        panel = sorted(shares, key=lambda v: -shares[v])[:2]
        mean = sum(np.log(softmax(table[str(n), v]["logprobs"])) for v in ("new", *panel)) / 3
        assert correct[n, 0] == (mean.argmax() == table[str(n), "new"]["answer"])


def test_a_panel_lifts_bad_formats_and_excludes_the_format_itself() -> None:
    given = answers(QUALITY, {"new": "unseen"})
    averaged = panel_correct(given, "format")
    assert averaged is not None
    plain = {v: np.mean([row["correct"] for row in given.scores if row["variant"] == v]) for v in QUALITY}
    assert averaged[:, 2].mean() > plain["bad"] + 0.3
    assert np.ptp(averaged.mean(axis=0)) < np.ptp([plain[v] for v in ("good", "better", "bad")])


def test_there_is_none_for_two_formats_or_other_families() -> None:
    assert panel_correct(answers({"good": 3.0, "bad": 0.0}), "format") is None
    assert panel_correct(answers(QUALITY, {"new": "noise"}), "noise") is None
    assert panel_correct(answers(QUALITY), "unseen") is None
