"""Before and after beyond the formats: how each family, the order of options and long prompts changed."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from steadyphi.report import lanes
from steadyphi.report.effects import FAMILIES
from steadyphi.report.figures import figure, table
from steadyphi.report.glossary import known
from steadyphi.report.lanes import Lanes, Mark, Row
from steadyphi.report.markup import Markup
from steadyphi.report.wording import count

Entry = Mapping[str, Any]


def changes(found: Sequence[Entry], labels: Sequence[str]) -> Markup | None:
    """Return the chart of what changed, with its table; None where nothing but formats was asked of both."""
    if not found:
        return None
    rows: list[Row] = []
    for group, entries in itertools.groupby(found, heading):
        rows.append(Row(group, kind="group"))
        rows += [_row(entry, row, labels) for entry in entries for row in entry["measures"]]
    bounds = [b for row in rows for m in row.marks for b in (m.value, m.low, m.high) if b is not None]
    caption = (
        f"Beyond the formats: the change from {labels[0]} to {labels[1]} on the same questions, in points, "
        "with its interval. Behind it, before and after"
    )
    chart = Lanes(rows, lanes.differences(bounds), [(0.0, "zero")], figures=2).draw()
    heads = ["asked", "measure", *labels, "change", "interval", "questions", "variants"]
    cells = [
        [entry["name"], *texts(row), entry["items"], entry["variants"]]
        for entry in found
        for row in entry["measures"]
    ]
    return figure(caption, None, chart, table("Change beyond the formats", heads, cells, words=2))


def heading(entry: Entry) -> str:
    """Return the heading under which an entry's measures stand; most long prompts share one."""
    asked = count(entry["items"], "question")
    if entry["part"] == "long":
        return f"Long prompts: {asked} at each length and depth"
    asked += f", {count(entry['variants'], 'variant')}"
    if entry["part"] == "options":
        return f"Order of the options {entry['name']}: {asked}"
    return f"{FAMILIES.get(entry['name'], entry['name'])}: {asked}"


def name(entry: Entry, row: Entry) -> str:
    """Return what a row is called under its heading."""
    return str(entry["name"]) if entry["part"] == "long" else known(row["key"]).name


def texts(row: Entry) -> list[str]:
    """Return the name of a measure, its values before and after, its change and the interval."""
    measure = known(row["key"])
    values = [measure.text(row[key]) for key in ("before", "after")]
    return [measure.name, *values, measure.change(row["change"]), measure.interval(row, change=True)]


def _row(entry: Entry, row: Entry, labels: Sequence[str]) -> Row:
    _, before, after, change, interval = texts(row)
    title = f"{labels[0]} {before}, {labels[1]} {after}, {change}"
    figures = tuple(text.removesuffix(" points") for text in (before, after))
    return Row(
        name(entry, row),
        title,
        f"interval: {interval}" if interval else "",
        (Mark(1, row["change"], row["low"], row["high"]),),
        figures=figures,
    )
