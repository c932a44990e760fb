"""The results of long prompts as numbers for the report."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from steadyphi.evaluation.long.failures import FAILURES, cause, failed
from steadyphi.evaluation.long.probe import ProbeResult, Task
from steadyphi.results.result import LongShare, LongSummary
from steadyphi.stats.interval import accuracy

THRESHOLD = 0.85  # of recall; the threshold of RULER is 85.6%, the score of Llama-2-7B at 4,096 tokens


def summarize(results: Sequence[ProbeResult], confidence: float = 0.95) -> LongSummary:
    """Return the summary of long prompts; `low` and `high` are Wilson intervals.

    needle: `share` is recall (the right value ranks first of ten), `exact` the share of generated texts that
    are the value. rules: position "none" is what happens without the instruction. padding: kind "none",
    length 0, is the bare question. failures: of needles, rules and tracked values. Padding is not among
    them, because its questions can be answered wrong without any padding; nor is position "none".
    """
    counted = [r for r in results if r.probe.task != "padding" and r.probe.kind != "none"]
    causes = Counter(cause(result) for result in counted if failed(result))
    needle = _of_tasks(results, "needle")
    tracking = _of_tasks(results, "multi-key", "variable tracking")
    return LongSummary(
        needle=_shares(needle, lambda result: "", confidence),
        rules=_shares(_of_tasks(results, "rules"), lambda result: result.probe.kind, confidence),
        padding=_shares(_of_tasks(results, "padding"), lambda result: result.probe.kind, confidence),
        tracking=_shares(tracking, lambda result: result.probe.task, confidence),
        failures={name: causes[name] for name in FAILURES},
        effective_length=effective_length(needle),
        mid_dip=mid_dip(needle),
    )


def effective_length(needle: Sequence[ProbeResult], threshold: float = THRESHOLD) -> int | None:
    """Return the longest length up to which recall stays at or above a threshold; None if it never does.

    Based on the effective length of RULER (Hsieh et al. 2024, arXiv 2404.06654). The threshold is absolute,
    because with one relative to the shortest length, a model that always guesses would be good at all
    lengths. The recall of a length is over all its depths, and every shorter length must reach the threshold.
    """
    longest = None
    for length, cell in sorted(_cells(needle, lambda result: result.probe.length).items()):
        if _right(cell) < threshold:
            break
        longest = length
    return longest


def mid_dip(needle: Sequence[ProbeResult]) -> float | None:
    """Return mean recall at the smallest and the largest depth, minus recall at the depth halfway between.

    This is the dip of the curve in Liu et al. 2023 (arXiv 2307.03172, figure 1) as one number: positive if a
    fact in the middle is lost. It is over all lengths; None with fewer than three depths. If two depths are
    equally near to halfway, the smaller one is used.
    """
    cells = dict(sorted(_cells(needle, lambda result: result.probe.depth).items()))
    if len(cells) < 3:
        return None
    first, *inner, last = cells
    middle = min(inner, key=lambda depth: abs(depth - (first + last) / 2))
    return (_right(cells[first]) + _right(cells[last])) / 2 - _right(cells[middle])


def _of_tasks(results: Sequence[ProbeResult], *tasks: Task) -> list[ProbeResult]:
    return [result for result in results if result.probe.task in tasks]


def _shares(
    results: Sequence[ProbeResult], kind: Callable[[ProbeResult], str], confidence: float
) -> list[LongShare]:
    """Return the share of right answers per kind, length and depth."""
    shares = []
    cells = _cells(results, lambda result: (kind(result), result.probe.length, result.probe.depth))
    for (name, length, depth), cell in cells.items():
        (share,) = accuracy(np.array([[not failed(result)] for result in cell]), confidence)
        exact = [result.exact for result in cell if result.text is not None]
        row = LongShare(name, length, depth, len(cell), share.value, share.low, share.high)
        shares.append(replace(row, exact=float(np.mean(exact))) if depth is not None and exact else row)
    return shares


def _cells(results: Sequence[ProbeResult], key: Callable[[ProbeResult], Any]) -> dict[Any, list[ProbeResult]]:
    """Return the results by key, in the order in which they come."""
    cells: dict[Any, list[ProbeResult]] = {}
    for result in results:
        cells.setdefault(key(result), []).append(result)
    return cells


def _right(cell: Sequence[ProbeResult]) -> float:
    return float(np.mean([not failed(result) for result in cell]))
