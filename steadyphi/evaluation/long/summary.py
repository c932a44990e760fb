"""What the results of long prompts say, as plain numbers for the report."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from steadyphi.evaluation.long.failures import FAILURES, cause, failed
from steadyphi.evaluation.long.probe import Result, Task
from steadyphi.stats import measures

THRESHOLD = 0.85  # of recall; RULER asks for 85.6%, what Llama-2-7B has at 4,096 tokens

Column = Callable[[Result], Any]
_COLUMNS: Mapping[str, Column] = {
    "task": lambda result: result.probe.task,
    "position": lambda result: result.probe.kind,
    "kind": lambda result: result.probe.kind,
    "length": lambda result: result.probe.length,
    "depth": lambda result: result.probe.depth,
}


def summarize(results: Sequence[Result], confidence: float = 0.95) -> dict[str, Any]:
    """Return the measures of long prompts; all shares between 0 and 1, `low` and `high` Wilson intervals.

    needle: per length and depth, `recall` (the right value ranks first of ten) and `exact` (the generated
    text is the value; None where nothing was generated).
    rules: per position and length, how often the rule was `followed`; position "none" is what happens
    without the instruction. padding, tracking: `accuracy` by rank; kind "none", length 0: the bare question.
    failures: how many needles, rules and tracked values were missed for which cause. Padding is not among
    them, since its questions can be answered wrong without any padding; nor is position "none".
    effective_length, mid_dip: see the functions.
    """

    def rows(tasks: Sequence[Task], columns: Sequence[str], name: str) -> list[dict[str, Any]]:
        return _rows([r for r in results if r.probe.task in tasks], columns, name, confidence)

    counted = [r for r in results if r.probe.task != "padding" and r.probe.kind != "none"]
    causes = Counter(cause(result) for result in counted if failed(result))
    needle = [r for r in results if r.probe.task == "needle"]
    exact = [_exact(cell) for cell in _cells(needle, ("length", "depth")).values()]
    return {
        "needle": [
            row | {"exact": share}
            for row, share in zip(rows(["needle"], ("length", "depth"), "recall"), exact, strict=True)
        ],
        "rules": rows(["rules"], ("position", "length"), "followed"),
        "padding": rows(["padding"], ("kind", "length"), "accuracy"),
        "tracking": rows(["multi-key", "variable tracking"], ("task", "length"), "accuracy"),
        "failures": {name: causes[name] for name in FAILURES},
        "effective_length": effective_length(needle),
        "mid_dip": mid_dip(needle),
    }


def effective_length(needle: Sequence[Result], threshold: float = THRESHOLD) -> int | None:
    """Return the longest length up to which recall stays at or above a threshold; None if it never does.

    After RULER's effective length (Hsieh et al. 2024, arXiv 2404.06654): the threshold is
    absolute, for one that is relative to the shortest length would call a model that guesses everywhere
    good at all lengths. Recall of a length is over all its depths, and every shorter length has to reach it.
    """
    longest = None
    for (length,), cell in sorted(_cells(needle, ("length",)).items()):
        if _right(cell) < threshold:
            break
        longest = length
    return longest


def mid_dip(needle: Sequence[Result]) -> float | None:
    """Return mean recall at the least and the greatest depth, less that at the depth halfway between.

    The sag of the curve that Liu et al. 2023 (arXiv 2307.03172, figure 1) draw, as one number: positive when
    a fact is lost in the middle. Over all lengths; None with fewer than three depths. Of two depths that are
    equally near to halfway the lesser.
    """
    cells = {depth: cell for (depth,), cell in sorted(_cells(needle, ("depth",)).items())}
    if len(cells) < 3:
        return None
    first, *inner, last = cells
    middle = min(inner, key=lambda depth: abs(depth - (first + last) / 2))
    return (_right(cells[first]) + _right(cells[last])) / 2 - _right(cells[middle])


def _rows(
    results: Sequence[Result], columns: Sequence[str], name: str, confidence: float
) -> list[dict[str, Any]]:
    """Return a row for each cell, with its share of right answers, called `name`, and the interval."""
    found = []
    for cell, of in _cells(results, columns).items():
        right = np.array([[not failed(result)] for result in of])
        (share,) = measures.accuracy(right, confidence)
        row = dict(zip(columns, cell, strict=True))
        found.append(row | {"items": len(of), name: share.value, "low": share.low, "high": share.high})
    return found


def _cells(results: Sequence[Result], columns: Sequence[str]) -> dict[tuple[Any, ...], list[Result]]:
    """Return the results by what they are in these columns, in the order in which they come."""
    cells: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        cells.setdefault(tuple(_COLUMNS[column](result) for column in columns), []).append(result)
    return cells


def _right(cell: Sequence[Result]) -> float:
    return float(np.mean([not failed(result) for result in cell]))


def _exact(cell: Sequence[Result]) -> float | None:
    texts = [result.exact for result in cell if result.text is not None]
    return float(np.mean(texts)) if texts else None
