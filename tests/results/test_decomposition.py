"""Components of variance by scorer, format and order, from rows of scores; and the model of two runs."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest

from steadyphi.prompts.item import Item
from steadyphi.results.answers import EvaluationAnswers
from steadyphi.results.cells import Cells
from steadyphi.results.decomposition import TERMS, decompositions, mixed
from steadyphi.stats.crossed import components
from tests.results.test_panel import ITEMS, answers

FORMATS = {"good": 3.0, "bad": 0.5}
LISTED = {"letters-0": 3.0, "letters-1": 2.0, "numbers-0": 1.0, "numbers-1": 1.0, "dashes-0": 0.0}


class Style(NamedTuple):
    name: str
    answers: str


def asked(answered_by: str) -> EvaluationAnswers:
    """Return answers in formats and in listed variants, which are named after their style and order."""
    given = answers(FORMATS | LISTED, dict.fromkeys(LISTED, "options"))
    (default, *_), styles = given.variants, {}
    variants: list[Any] = []
    for variant in given.variants:
        styles[variant.name] = style = Style(variant.name.split("-")[0], answered_by)
        listed = {"options": style, "format": default.format} if variant.family == "options" else {}
        variants.append(dataclasses.replace(variant, **listed))  # type: ignore[arg-type]
    rows = [
        row | {"free": [-1.0, -2.0, -3.0], "places": [0, 1, 2] if row["variant"] in LISTED else None}
        for row in given.scores
    ]
    items = [Item(str(n), "", "?", ("a", f"bb{n}", "ccc"), 0) for n in range(ITEMS)]
    return dataclasses.replace(given, scores=rows, variants=variants, items=items)


def test_formats_and_orders_by_scorer() -> None:
    formats, options = decompositions(asked("text"))
    # By log-probability, by length, and calibrated.
    assert (formats.name, formats.levels) == ("format", {"question": ITEMS, "scorer": 3, "format": 2})
    # Batch calibration too. The style with a single order is left out.
    assert options.levels == {"question": ITEMS, "scorer": 4, "format": 2, "order": 2}
    assert len(formats.components) == 7 and len(options.components) == 15
    assert sum(part.share for part in options.components) == pytest.approx(1)
    _, labels = decompositions(asked("label"))
    assert labels.levels["scorer"] == 3  # labels have the same length


def test_a_single_scorer_is_the_answers_own() -> None:
    """Without what other scorers need, and choices of equal length, all scorers agree."""
    given = answers(FORMATS)
    items = [Item(str(n), "", "?", ("a", f"{n % 10}", "c"), 0) for n in range(ITEMS)]
    given = dataclasses.replace(given, items=items)
    (decomposition,) = decompositions(given)
    correct = given.cells(given.variants).correct
    expected = components(correct, ["question", "format"])
    by_term = {tuple(part.factors): part.variance for part in decomposition.components}
    assert by_term["scorer",] == by_term["question", "scorer"] == 0
    for part in expected:
        assert by_term[tuple(part.factors)] == pytest.approx(part.variance)


def run(correct: np.ndarray) -> Cells:
    given = answers(dict.fromkeys(map(str, range(correct.shape[1])), 1.0))
    return dataclasses.replace(given.cells(given.variants), correct=correct)


def test_the_model_of_two_runs() -> None:
    """Fine-tuning lifts the bad half of the formats, so it differs by format."""
    rng = np.random.default_rng(0)
    before = rng.random((40, 6)) < np.repeat([0.8, 0.3], 3)
    model = mixed(run(before), run(rng.random((40, 6)) < 0.8))
    assert model and (model.questions, model.formats) == (40, 6) and set(model.deviations) == set(TERMS)
    # The logit of 0.8 is 1.39, that of 0.3 is -0.85: half of the formats gain 2.2, the others nothing.
    assert model.tuned == pytest.approx(1.1, abs=0.5)
    assert model.deviations["fine-tuning × format"] > 0.4 > model.deviations["question"]


def test_nothing_to_model() -> None:
    right = np.ones((20, 2), bool)
    assert mixed(run(right), run(right)) is None and mixed(run(~right), run(~right)) is None
    assert mixed(run(right[:, :1]), run(~right[:, :1])) is None


def test_estimates_that_are_not_finite_are_left_out() -> None:
    random = np.random.default_rng(0).random((20, 4)) < 0.5
    for correct in (np.ones((20, 4), bool), np.zeros((20, 4), bool)):
        assert mixed(run(random), run(correct)) is None and mixed(run(correct), run(random)) is None
    by_question = np.repeat(random[:, :1], 4, axis=1)  # each question is always right or always wrong
    assert mixed(run(by_question), run(by_question)) is None
