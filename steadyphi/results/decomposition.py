"""Where the differences between answers come from: question, scorer, format or the order of the options."""

from collections.abc import Sequence

import numpy as np

from steadyphi.prompts.variants import Variant
from steadyphi.results.answers import EvaluationAnswers
from steadyphi.results.by_scorer import stacked
from steadyphi.results.cells import Cells
from steadyphi.results.experiment import MixedModel
from steadyphi.results.result import Decomposition
from steadyphi.stats import crossed, mixed_model

FACTORS = ("question", "scorer", "format", "order")
MOST = 200  # questions of the mixed model, which takes seconds
TERMS = ("question", "format", "question × format", "fine-tuning × question", "fine-tuning × format")


def decompositions(answers: EvaluationAnswers) -> list[Decomposition]:
    """Return the components of variance of the named formats, and of listed options in several orders."""
    families = answers.families()
    formats = [[variant] for variant in families["format"]]
    grids = {"format": formats, "options": _orders(families.get("options", []))}
    return [_decomposition(answers, name, grid) for name, grid in grids.items() if len(grid) > 1]


def _orders(listed: Sequence[Variant]) -> list[list[Variant]]:
    """Return the variants of each style that is asked in as many orders as the most."""
    styles = dict.fromkeys((v.options, v.format) for v in listed)
    grid = [[v for v in listed if (v.options, v.format) == style] for style in styles]
    most = max(map(len, grid), default=0)
    return [orders for orders in grid if len(orders) == most > 1]


def _decomposition(answers: EvaluationAnswers, name: str, grid: Sequence[Sequence[Variant]]) -> Decomposition:
    """Return the components of a grid of variants: formats, or styles, by orders."""
    correct = stacked(answers, [variant for row in grid for variant in row])
    items, scorers, _ = correct.shape
    cells = correct.reshape(items, scorers, len(grid), len(grid[0]))
    levels = {factor: levels for factor, levels in zip(FACTORS, cells.shape, strict=True) if levels > 1}
    return Decomposition(name, levels, crossed.components(cells, FACTORS))


def mixed(before: Cells, after: Cells) -> MixedModel | None:
    """Return the mixed-effects logistic model of two runs on the same questions and formats.

    None if there are fewer than two questions or formats, or if the estimates are not finite. Those of a run
    whose answers are all right or all wrong are not.
    """
    runs = np.stack([before.correct[:MOST], after.correct[:MOST]], axis=2)
    items, formats, _ = runs.shape
    constant = np.all(runs == runs[:1, :1], axis=(0, 1))  # of each run
    if min(items, formats) < 2 or constant.any():
        return None
    item, format_, tuned = (index.ravel() for index in np.indices(runs.shape))
    levels = (item, format_, item * formats + format_, item * 2 + tuned, format_ * 2 + tuned)
    design = np.column_stack([np.ones(runs.size), tuned]).astype(float)
    terms = dict(zip(TERMS, levels, strict=True))
    fitted = mixed_model.fit(runs.ravel().astype(float), np.ones(runs.size), design, terms)
    if fitted is None:
        return None
    # The digits that the optimizer determines.
    deviations = {term: round(value, 3) for term, value in fitted.deviations.items()}
    return MixedModel(items, formats, round(float(fitted.fixed[1]), 3), deviations)
