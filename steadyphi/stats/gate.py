"""Whether the tuned model may replace the base model: not if it is significantly less steady."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.bootstrap import DEFAULT, Arrays, Resampling, Statistic, distributions
from steadyphi.stats.catalogue import used_in
from steadyphi.stats.estimate import Measure
from steadyphi.stats.paired import holm


@dataclass(frozen=True)
class Gate:
    """Whether the tuned model passes, and if not, one line for each reason."""

    passed: bool
    reasons: list[str]


def decide(before: NDArray[np.bool_], after: NDArray[np.bool_], resampling: Resampling = DEFAULT) -> Gate:
    """Fail the tuned model if a measure that the catalogue marks for the gate gets significantly worse.

    before, after: `correct` (items, variants) of base and tuned on the same items and variants. Each measure
    gets a one-sided test, with items resampled for both runs together. The p-value is (b + 1) / (m + 1),
    where b of the m draws exceed their mean by at least the observed change (centred at the hypothesis of no
    change: Hall & Wilson 1991, doi 10.2307/2532163). `holm` keeps the probability of any false alarm at
    alpha = 1 - confidence; it is smaller if nothing changed. The observed spread contains noise: it grows if
    accuracies with the same true spread move to the two ends.
    """
    watched = used_in("gate")
    pair = {"before": before, "after": after}
    drawn = distributions({m.key: _worsening(m) for m in watched}, pair, resampling)
    changes = [_worsening(measure)(pair) for measure in watched]
    p_values = holm([_p_value(change, drawn[m.key]) for m, change in zip(watched, changes, strict=True)])
    reasons = [
        _reason(measure, before, after, p_value)
        for measure, p_value in zip(watched, p_values, strict=True)
        if p_value < 1 - resampling.confidence
    ]
    return Gate(not reasons, reasons)


def _worsening(measure: Measure) -> Statistic:
    """Return the statistic of how much `measure` gets worse from before to after."""

    def change(pair: Arrays) -> float:
        return measure.worse * (
            measure.value({"correct": pair["after"]}) - measure.value({"correct": pair["before"]})
        )

    return change


def _p_value(change: float, drawn: NDArray[np.float64]) -> float:
    if change <= 0:
        return 1.0
    return float(((drawn - drawn.mean() >= change).sum() + 1) / (len(drawn) + 1))


def _reason(measure: Measure, before: NDArray[np.bool_], after: NDArray[np.bool_], p_value: float) -> str:
    was, now = measure.value({"correct": before}), measure.value({"correct": after})
    verb = "grows" if now > was else "falls"
    return (
        f"the {measure.label} {verb}: {was:.1%} before, {now:.1%} after ({100 * (now - was):+.1f} points, "
        f"p = {p_value:.3f})"
    )
