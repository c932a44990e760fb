"""Whether each answer is right by every scorer that is defined for a family of variants."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steadyphi.prompts.variants import Variant
from steadyphi.results.answers import EvaluationAnswers
from steadyphi.results.cells import Cells
from steadyphi.stats import scorers

Correct = NDArray[np.bool_]


def correct_by_scorer(answers: EvaluationAnswers, cells: Cells) -> dict[str, Correct]:
    """Return the correctness (items, variants) by the scorers other than the evaluation's.

    "calibrated" and "any_beginning" are missing if the answers lack what they need, and "batch_calibrated"
    where there are no classes: choices that all items share, or positions if options are shown. "normalized"
    has no meaning for the variants of `is_label`.
    """
    texts = {item.id: item.choices for item in answers.items}
    lengths = scorers.byte_lengths([texts[i] for i in cells.items])
    scores = {"normalized": scorers.length_normalized(cells.logprobs, lengths)}
    if cells.free is not None:
        scores["calibrated"] = scorers.contextual(cells.logprobs, cells.free)
    if cells.places is not None or answers.same_choices:
        scores["batch_calibrated"] = scorers.batch_calibrated(cells.logprobs, cells.places)
    if cells.begun is not None:
        scores["any_beginning"] = cells.begun
    return {name: scorers.choose(of_choices) == cells.answer[:, None] for name, of_choices in scores.items()}


def is_label(variant: Variant) -> bool:
    """Return whether the answers are labels such as B, which all have the same length."""
    return variant.options is not None and variant.options.answers == "label"


def stacked(answers: EvaluationAnswers, variants: Sequence[Variant]) -> Correct:
    """Return the correctness (items, scorers, variants), first by the scorer of the evaluation."""
    cells = answers.cells(variants)
    others = correct_by_scorer(answers, cells)
    if any(map(is_label, variants)):
        del others["normalized"]
    return np.stack([cells.correct, *others.values()], axis=1)
