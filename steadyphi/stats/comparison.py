"""The comparison of base and tuned on the same items and variants: changes of measures and of variants."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan

import numpy as np
from scipy.stats import false_discovery_control

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.alarms import equal_alarm
from steadyphi.stats.bootstrap import Arrays, Resampling
from steadyphi.stats.changes import tested_change
from steadyphi.stats.estimate import Measure
from steadyphi.stats.gate import Gate, decide
from steadyphi.stats.paired import changes


@dataclass(frozen=True)
class MeasureChange:
    """A measure before and after, and its change with an interval, whose ends are None if unknown.

    p_value: two-sided, of no change. q_value: the p-value adjusted for all changes of a comparison, see
        `adjusted`. Both are None if unknown.
    """

    key: str
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    p_value: float | None = None
    q_value: float | None = None


@dataclass(frozen=True)
class VariantChange:
    """A variant's accuracy before and after, its change with an interval, and the p-value after Holm."""

    name: str
    before: float
    after: float
    change: float
    low: float
    high: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """The comparison of two runs.

    measures: intervals by the bootstrap over items, which are resampled for both runs together.
    variants: exact McNemar tests. gate: at alpha = 1 - confidence.
    """

    measures: list[MeasureChange]
    variants: list[VariantChange]
    alarms: list[str]
    gate: Gate


def compare(
    before: Arrays,
    after: Arrays,
    names: Sequence[str],
    measures: Sequence[Measure],
    resampling: Resampling,
) -> Comparison:
    """Return the comparison of two runs.

    before, after: `correct` and `chosen` (items, variants), `logprobs` (items, variants, choices) if known,
        and the other arrays that the measures read, with the items first; the same arrays in both.
    names: of the variants.
    Raises SteadyPhiError if the runs have different arrays or shapes.
    """
    _check(before, after, names)
    logprobs = (before["logprobs"], after["logprobs"]) if "logprobs" in before else None
    alarm = equal_alarm((before["chosen"], after["chosen"]), logprobs)
    return Comparison(
        measure_changes(before, after, measures, resampling),
        _variants(before, after, names, resampling.confidence),
        [alarm] if alarm else [],
        decide(before["correct"], after["correct"], resampling),
    )


def measure_changes(
    before: Arrays, after: Arrays, measures: Sequence[Measure], resampling: Resampling
) -> list[MeasureChange]:
    """Return the change of each measure with its interval.

    Measures of other kinds are left out, and those that are undefined for a run. `tested_change` says which
    interval it is. The ends are None if a measure is not a number in some of the draws.
    """
    rows = (
        _change(measure, before, after, resampling)
        for measure in measures
        if measure.kind in ("bootstrap", "item mean")
    )
    return [row for row in rows if not isnan(row.change)]


def _change(measure: Measure, before: Arrays, after: Arrays, resampling: Resampling) -> MeasureChange:
    change = tested_change(measure, before, after, resampling)
    known = bool(np.isfinite([change.low, change.high]).all())
    tested = (change.low, change.high, change.p_value) if known else (None, None, None)
    return MeasureChange(measure.key, measure.value(before), measure.value(after), change.change, *tested)


def adjusted(changes: Sequence[MeasureChange]) -> list[MeasureChange]:
    """Return the changes with their q-values.

    If the changes with q below alpha are called real, at most the share alpha of these calls is expected to
    be false (Benjamini & Hochberg 1995, doi 10.1111/j.2517-6161.1995.tb02031.x), for tests that are
    independent or positively dependent, as those of the same questions are.
    """
    known = [n for n, row in enumerate(changes) if row.p_value is not None]
    q_values = false_discovery_control([changes[n].p_value for n in known]) if known else []
    by_row = dict(zip(known, map(float, q_values), strict=True))
    return [replace(row, q_value=by_row.get(n)) for n, row in enumerate(changes)]


def _variants(before: Arrays, after: Arrays, names: Sequence[str], confidence: float) -> list[VariantChange]:
    was, now = before["correct"].mean(axis=0), after["correct"].mean(axis=0)
    rows = changes(before["correct"], after["correct"], confidence)
    return [
        VariantChange(name, float(was[n]), float(now[n]), row.change, row.low, row.high, row.p_holm)
        for n, (name, row) in enumerate(zip(names, rows, strict=True))
    ]


def _check(before: Arrays, after: Arrays, names: Sequence[str]) -> None:
    if set(before) != set(after):
        raise SteadyPhiError(
            f"{sorted(set(before) ^ set(after))}: only one run has these arrays; score both in the same way"
        )
    for key, array in before.items():
        if array.shape[:2] != after[key].shape[:2]:
            raise SteadyPhiError(
                f"{key}: the runs have {array.shape[:2]} and {after[key].shape[:2]} items and variants; "
                "compare runs on the same items and variants"
            )
    variants = before["correct"].shape[1]
    if variants != len(names):
        raise SteadyPhiError(f"{variants} variants, but {len(names)} names; give one name for each variant")
