"""The result in a few plain sentences, and what speaks against trusting it."""

from collections.abc import Mapping
from typing import Any

from steadyphi.report import reading
from steadyphi.report.reading import Result, Run
from steadyphi.report.wording import count, percent, points, points_interval


def sentences(result: Result) -> list[str]:
    """Return the verdict, a sentence each: the range over formats, the flips, what tuning did."""
    base = result["runs"][0]
    said = [_range(base), _flips(base)]
    changes = reading.changes(result)
    for run in result["runs"][1:]:
        best, worst = _ends(run)
        said.append(
            f"Asked the same, {reading.model(run)} gets between {percent(worst)} and {percent(best)} right."
        )
    way = " to ".join(reading.label(run) for run in result["runs"])
    said += [_change(way, what, changes[key]) for key, what in WATCHED.items() if key in changes]
    return [s for s in said if s]


def alarms(result: Result) -> list[str]:
    """Return all alarms, each once, saying whose they are where there are two runs; a failed gate's too."""
    runs = result["runs"]
    found = [
        f"{reading.label(run)}: {text}" if len(runs) > 1 else text
        for run in runs
        for text in run.get("alarms", [])
    ]
    comparison = result.get("comparison") or {}
    gate = comparison.get("gate")
    failed = gate["reasons"] if gate and not gate["passed"] else []
    return reading.distinct(
        [*found, *comparison.get("alarms", []), *(f"The gate failed: {r}" for r in failed)]
    )


def notes(result: Result) -> list[str]:
    """Return what the suite asks for and was left out, each once."""
    return reading.distinct(note for run in result["runs"] for note in run.get("notes", []))


WATCHED = {"accuracy_worst": "the worst format's accuracy", "spread": "the spread between best and worst"}


def _range(run: Run) -> str:
    best, worst = _ends(run)
    formats = run.get("formats", len(reading.formats(run)))
    others = len(run["variants"]) - formats
    also = f" (and in {count(others, 'other way')})" if others else ""
    return (
        f"Asked {count(run['items'], 'question')} in {count(formats, 'format')}{also}, "
        f"{reading.model(run)} gets between {percent(worst)} and {percent(best)} right, depending on "
        f"the format alone{_default(run)}; choosing blindly would get {percent(run['chance'])}."
    )


def _default(run: Run) -> str:
    default = reading.across([run], run["default"])[0]
    return f" ({percent(default['accuracy'])} in the default format {run['default']})" if default else ""


def _ends(run: Run) -> tuple[float, float]:
    """Return the accuracy in the best and the worst format, as the measures have it if they do."""
    best, worst = (reading.measure(run, f"accuracy_{which}") for which in ("best", "worst"))
    if best and worst:
        return best["value"], worst["value"]
    formats = reading.formats(run)
    return formats[0]["accuracy"], formats[-1]["accuracy"]


def _flips(run: Run) -> str:
    flips = reading.measure(run, "flip_rate")
    if not flips or run.get("formats") == 1:
        return ""
    return (
        f"Two formats disagree on {percent(flips['value'])} of the questions, where rounding alone changes "
        f"{percent(run['noise_flip_rate'])}."
    )


def _change(way: str, what: str, entry: Mapping[str, Any]) -> str:
    change, interval = entry["change"], points_interval(entry)
    size = f"{points(abs(change)).lstrip('+')} points"
    if interval and entry["low"] <= 0 <= entry["high"]:
        return (
            f"Whether {what} changed from {way} cannot be told from these questions: "
            f"{points(change)} points, interval {interval}."
        )
    moved = "grew" if change > 0 else "shrank"
    return f"From {way}, {what} {moved} by {size}" + (f" (interval {interval})." if interval else ".")
