"""Did it help: base and tuned on the same items and variants, measure by measure and variant by variant."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.alarms import equal_alarm
from steadyphi.stats.bootstrap import Arrays, Measure, centred_interval, distributions, item_means
from steadyphi.stats.gate import decide
from steadyphi.stats.paired import changes


def compare(
    before: Arrays,
    after: Arrays,
    names: Sequence[str],
    measures: Mapping[str, Measure],
    confidence: float,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the comparison of two runs as plain JSON.

    before, after: `correct` and `chosen` (items, variants), `logprobs` (items, variants, choices) if known,
        and whatever else the measures read, with items and variants first, the same in both.
    names: of the variants. measures: by key, functions of such a mapping.
    Keys of the result: `measures` (`key`, `before`, `after`, `change`, `low`, `high`: bootstrap over items,
    which are drawn for both runs together), `variants` (`name`, `before`, `after`, `change`, `low`, `high`,
    `p_holm`: exact McNemar), `alarms`, `gate` (at alpha = 1 - confidence).
    SteadyPhiError if the runs are not of the same shape.
    """
    _check(before, after, names)
    gate = decide(before["correct"], after["correct"], 1 - confidence, draws, seed)
    logprobs = (before["logprobs"], after["logprobs"]) if "logprobs" in before else None
    alarm = equal_alarm((before["chosen"], after["chosen"]), logprobs)
    return {
        "measures": measure_changes(before, after, measures, confidence, draws, seed),
        "variants": _variants(before, after, names, confidence),
        "alarms": [alarm] if alarm else [],
        "gate": {"passed": gate.passed, "reasons": gate.reasons},
    }


def measure_changes(
    before: Arrays, after: Arrays, measures: Mapping[str, Measure], confidence: float, draws: int, seed: int
) -> list[dict[str, Any]]:
    """Return a row per measure: before, after, and the change with its `centred_interval`.

    The same seed draws the same items for both runs. The ends are None where a measure is not a number in
    some of the draws.
    """
    was = distributions(measures, before, draws, seed)
    now = distributions(measures, after, draws, seed)
    rows = []
    for key, measure in measures.items():
        one, other = float(measure(before)), float(measure(after))
        low, high = centred_interval(other - one, now[key] - was[key], confidence)
        known = bool(np.isfinite([low, high]).all())
        rows.append(
            {"key": key, "before": one, "after": other, "change": other - one}
            | {"low": low if known else None, "high": high if known else None}
        )
    return rows


def mean_change(
    before: NDArray[np.float64], after: NDArray[np.float64], confidence: float, draws: int, seed: int
) -> dict[str, float]:
    """Return before, after, and the change with its interval, of a measure that is a mean over items (N,)."""
    gaps = after - before
    change = float(gaps.mean())
    low, high = centred_interval(change, item_means(gaps[:, None], draws, seed)[:, 0], confidence)
    return {
        "before": float(before.mean()),
        "after": float(after.mean()),
        "change": change,
        "low": low,
        "high": high,
    }


def _variants(before: Arrays, after: Arrays, names: Sequence[str], confidence: float) -> list[dict[str, Any]]:
    was, now = before["correct"].mean(axis=0), after["correct"].mean(axis=0)
    rows = changes(before["correct"], after["correct"], confidence)
    return [
        {"name": name, "before": float(was[n]), "after": float(now[n])} | row
        for n, (name, row) in enumerate(zip(names, rows, strict=True))
    ]


def _check(before: Arrays, after: Arrays, names: Sequence[str]) -> None:
    if set(before) != set(after):
        raise SteadyPhiError(f"{sorted(set(before) ^ set(after))}: known of one run only; score both alike")
    for key, array in before.items():
        if array.shape[:2] != after[key].shape[:2]:
            raise SteadyPhiError(
                f"{key}: the runs have {array.shape[:2]} and {after[key].shape[:2]} items and variants; "
                "compare runs on the same items and variants"
            )
        if array.shape[1] != len(names):
            raise SteadyPhiError(f"{key}: {array.shape[1]} variants, but {len(names)} names; give one each")
