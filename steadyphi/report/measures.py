"""The table of all measures, each with a sentence that says what it is."""

from typing import Any

from steadyphi.report import glossary, reading
from steadyphi.report.figures import Section, table
from steadyphi.report.markup import Markup, tag
from steadyphi.report.reading import Result


def section(result: Result) -> Section | None:
    """Return the table: known measures in the glossary's order, then those that only have a key."""
    runs, changes = result["runs"], reading.changes(result)
    measured = [{**run["measures"], **_rounding(run)} for run in runs]
    keys = reading.distinct(key for found in measured for key in found)
    order = [k for k in glossary.MEASURES if k in keys] + [k for k in keys if k not in glossary.MEASURES]
    rows = [
        _row(key, [found.get(key) for found in measured], changes.get(key), bool(changes)) for key in order
    ]
    heads = ["measure", *(reading.label(run) for run in runs), *(["change"] if changes else [])]
    return (
        Section("measures", "All measures", table("All measures, with intervals", heads, rows))
        if rows
        else None
    )


def _rounding(run: reading.Run) -> dict[str, Any]:
    return {"noise_flip_rate": {"value": run["noise_flip_rate"], "low": None, "high": None}}


def _row(key: str, found: list[Any], change: Any, compared: bool) -> list[Markup]:
    measure = glossary.known(key)
    head = tag("span", measure.name, tag("small", measure.meaning) if measure.meaning else None)
    cells = [_cell(measure.text(e["value"]), measure.interval(e)) if e else tag("span", "–") for e in found]
    if compared:
        cells.append(
            _cell(measure.change(change["change"]), measure.interval(change, change=True))
            if change
            else tag("span", "–")
        )
    return [head, *cells]


def _cell(value: str, interval: str) -> Markup:
    return tag("span", value or "–", tag("small", interval) if interval else None)
