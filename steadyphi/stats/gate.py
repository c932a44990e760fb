"""May the tuned model replace the base model: not if it is surely less steady."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats import measures
from steadyphi.stats.bootstrap import Arrays, Measure, distributions
from steadyphi.stats.paired import holm

# What must not get worse, how it is said, and which way is worse.
WATCHED: dict[str, tuple[Measure, str, int]] = {
    "spread": (lambda a: measures.spread(a["correct"]), "the spread grows", 1),
    "worst": (lambda a: float(a["correct"].mean(axis=0).min()), "accuracy in the worst variant falls", -1),
    "always": (lambda a: measures.worst_case(a["correct"]), "the share right in every variant falls", -1),
}


@dataclass(frozen=True)
class Gate:
    """Whether the tuned model passes, and if not, one line for each reason."""

    passed: bool
    reasons: list[str]


def decide(
    before: NDArray[np.bool_], after: NDArray[np.bool_], alpha: float = 0.05, draws: int = 2000, seed: int = 0
) -> Gate:
    """Fail the tuned model if the spread grows, or one of two worst-case accuracies falls, significantly.

    before, after: `correct` (items, variants) of base and tuned on the same items and variants. Each of the
    three is tested one-sidedly, over items drawn again for both runs together: the p-value is the share of
    draws that deviate from their mean by at least the change seen (centred at the hypothesis of no change:
    Hall & Wilson 1991, doi 10.2307/2532163), (b + 1) / (m + 1). `holm` keeps the chance that any fails at
    alpha; where nothing changed it is smaller. The observed spread has noise in it: where accuracies of the
    same true spread crowd at its ends after, and did not before, it does grow.
    """
    pair = {"before": before, "after": after}
    drawn = distributions({key: _change(key) for key in WATCHED}, pair, draws, seed)
    found = {key: _change(key)(pair) for key in WATCHED}
    p_values = holm([_p_value(found[key], drawn[key]) for key in WATCHED])
    reasons = [
        _reason(key, before, after, p_value)
        for key, p_value in zip(WATCHED, p_values, strict=True)
        if p_value < alpha
    ]
    return Gate(not reasons, reasons)


def _change(key: str) -> Measure:
    """Return the measure of by how much `key` gets worse from before to after."""
    measure, _, worse = WATCHED[key]

    def change(pair: Arrays) -> float:
        return worse * (measure({"correct": pair["after"]}) - measure({"correct": pair["before"]}))

    return change


def _p_value(change: float, drawn: NDArray[np.float64]) -> float:
    if change <= 0:
        return 1.0
    return float(((drawn - drawn.mean() >= change).sum() + 1) / (len(drawn) + 1))


def _reason(key: str, before: NDArray[np.bool_], after: NDArray[np.bool_], p_value: float) -> str:
    measure, says, _ = WATCHED[key]
    was, now = measure({"correct": before}), measure({"correct": after})
    return f"{says}: {was:.1%} before, {now:.1%} after ({100 * (now - was):+.1f} points, p = {p_value:.3f})"
