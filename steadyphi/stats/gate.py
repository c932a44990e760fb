"""Whether the tuned model may replace the base model: not if it is significantly less steady."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.bootstrap import DEFAULT, Resampling
from steadyphi.stats.catalogue import used_in
from steadyphi.stats.changes import drawn_change
from steadyphi.stats.estimate import Measure
from steadyphi.stats.interval import Interval
from steadyphi.stats.paired import holm


@dataclass(frozen=True)
class Gate:
    """Whether the tuned model passes, and if not, one line for each reason."""

    passed: bool
    reasons: list[str]


def decide(before: NDArray[np.bool_], after: NDArray[np.bool_], resampling: Resampling = DEFAULT) -> Gate:
    """Fail the tuned model if a measure that the catalogue marks for the gate gets significantly worse.

    before, after: `correct` (items, variants) of base and tuned on the same items and variants. Each measure
    gets a one-sided test, `Drawn.p_value`, with the same resampled items for both runs. `holm` keeps the
    probability of any false alarm at alpha = 1 - confidence. A loss that is too small for these items passes.
    sigma_T needs two variants and two items, and is left out otherwise.
    """
    pair = [{"correct": correct} for correct in (before, after)]
    watched = [m for m in used_in("gate") if m.kind != "own interval" or min(before.shape) > 1]
    drawn = [drawn_change(measure, pair[0], pair[1], resampling) for measure in watched]
    p_values = holm([test.p_value(measure.worse) for measure, test in zip(watched, drawn, strict=True)])
    reasons = [
        _reason(measure, before, after, p_value)
        for measure, p_value in zip(watched, p_values, strict=True)
        if p_value < 1 - resampling.confidence
    ]
    return Gate(not reasons, reasons)


def _reason(measure: Measure, before: NDArray[np.bool_], after: NDArray[np.bool_], p_value: float) -> str:
    was, now = (_value(measure, correct) for correct in (before, after))
    verb = "grows" if now > was else "falls"
    return (
        f"the {measure.label} {verb}: {was:.1%} before, {now:.1%} after ({100 * (now - was):+.1f} points, "
        f"p = {p_value:.3f})"
    )


def _value(measure: Measure, correct: NDArray[np.bool_]) -> float:
    if measure.kind == "own interval":
        interval: Interval = measure.function(correct, Resampling(draws=2))
        return interval.value
    return measure.value({"correct": correct})
