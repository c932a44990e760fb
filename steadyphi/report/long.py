"""Long prompts: what is recalled at which length and depth, which rules are kept, why it fails."""

from collections.abc import Mapping, Sequence
from typing import Any

from steadyphi.report import lanes, reading
from steadyphi.report.figures import Section, figure, table
from steadyphi.report.heatmap import Cell, heatmap
from steadyphi.report.lanes import Lanes, Mark, Row, Scale
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.reading import Result, Run
from steadyphi.report.wording import count, percent, points, share_interval

# Which lists of a run's "long" are drawn as small charts: what sets their lines apart, what is measured.
TASKS = {
    "rules": ("position", "followed", "Rules that are followed, by where the instruction stands"),
    "padding": ("kind", "accuracy", "The same questions after padding, by kind of padding"),
    "tracking": ("task", "accuracy", "Keeping track of several keys or variables"),
}
REASONS = {
    "forgot": "gave a value that the prompt does not hold",
    "ignored": "followed the distractor",
    "misread": "gave the value of another key",
    "echoed": "repeated the question or the filler",
    "other": "something else",
}


def section(result: Result) -> Section | None:
    """Return what was found with long prompts; None where none were asked."""
    runs = [{**run, "long": run.get("long") or {}} for run in result["runs"]]
    if not any(run["long"] for run in runs):
        return None
    labels = [reading.label(run) for run in runs]
    smalls = [_small(key, runs, labels) for key in TASKS if any(run["long"].get(key) for run in runs)]
    parts = [
        *(tag("p", _in_short(run)) for run in runs if run["long"]),
        *(_needle(run) for run in runs if run["long"].get("needle")),
        tag("div", *smalls, class_="small-charts") if smalls else None,
        _failures(runs, labels),
    ]
    return Section("long", "Long prompts", join(parts))


def _in_short(run: Run) -> str:
    found = run["long"]
    length, dip = found.get("effective_length"), found.get("mid_dip")
    known = (
        f"holds up to {length:,} tokens"
        if length is not None
        else "does not hold even at the shortest length"
    )
    text = f"Recall of {reading.model(run)} {known}"
    return text + (
        f"; in the middle of a prompt it is {points(-dip)} points against its ends."
        if dip is not None
        else "."
    )


def _needle(run: Run) -> Markup:
    cells = {(c["depth"], c["length"]): c for c in run["long"]["needle"]}
    depths, lengths = sorted({d for d, _ in cells}), sorted({n for _, n in cells})
    title = f"Recall in percent of a hidden fact by its depth and the prompt's length, {reading.model(run)}"
    grid = [[_needle_cell(cells.get((d, n))) for n in lengths] for d in depths]
    chart = heatmap(
        title,
        "Rows say how deep in the prompt the fact stands; columns are lengths in tokens. "
        "Intervals are in the cells' titles.",
        [f"depth {100 * d:.0f}%" for d in depths],
        [f"{n:,}" for n in lengths],
        grid,
    )
    rows = [
        [
            f"{c['length']:,}",
            f"{100 * c['depth']:.0f}%",
            percent(c["recall"]),
            share_interval(c),
            percent(c.get("exact")),
            c["items"],
        ]
        for _, c in sorted(cells.items())
    ]
    heads = ["tokens", "depth", "recall", "interval", "exact match", "questions"]
    return figure(title, None, chart, table("Recall by depth and length", heads, rows))


def _needle_cell(found: Mapping[str, Any] | None) -> Cell | None:
    if not found:
        return None
    exact = f"; exact match {percent(found['exact'])}" if found.get("exact") is not None else ""
    title = (
        f"{found['length']:,} tokens, depth {100 * found['depth']:.0f}%: {percent(found['recall'])} "
        f"(interval {share_interval(found)}) of {found['items']}{exact}"
    )
    return Cell(found["recall"], title)


def _small(key: str, runs: Sequence[Run], labels: Sequence[str]) -> Markup:
    apart, measure, caption = TASKS[key]
    entries = [{(e[apart], e["length"]): e for e in run["long"].get(key) or []} for run in runs]
    keys = reading.distinct(k for found in entries for k in found)
    rows: list[Row] = []
    for kind in reading.distinct(kind for kind, _ in keys):
        rows.append(Row(str(kind), kind="group"))
        for length in sorted(n for k, n in keys if k == kind):
            marks = [
                Mark(n, found[kind, length][measure], found[kind, length]["low"], found[kind, length]["high"])
                for n, found in enumerate(entries)
                if (kind, length) in found
            ]
            rows.append(_row(f"{length:,}", marks, labels))
    heads = [apart, "tokens", "run", measure, "interval", "questions"]
    data = [
        [kind, f"{length:,}", label, percent(e[measure]), share_interval(e), e["items"]]
        for found, label in zip(entries, labels, strict=True)
        for (kind, length), e in found.items()
    ]
    scale = Scale((0.0, 0.5, 1.0), lanes.shares([0.0, 1.0]).text)  # few ticks: the lanes are short
    chart = Lanes(rows, scale, figures=len(runs)).draw()
    return figure(
        f"{caption}; rows are lengths in tokens",
        lanes.legend(labels),
        chart,
        table(caption, heads, data, words=3),
    )


def _row(name: str, marks: Sequence[Mark], labels: Sequence[str]) -> Row:
    title, detail = lanes.in_words(labels, marks)
    values = {mark.run: percent(mark.value) for mark in marks}
    figures = tuple(values.get(n, "–") for n in range(len(labels)))
    return Row(name, title, detail, tuple(marks), figures=figures)


def _failures(runs: Sequence[Run], labels: Sequence[str]) -> Markup | None:
    counts = [run["long"].get("failures") or {} for run in runs]
    totals = [sum(found.values()) for found in counts]
    if not any(totals):
        return None
    rows = []
    for reason in reading.distinct([*REASONS, *(reason for found in counts for reason in found)]):
        found = [c.get(reason, 0) for c in counts]
        marks = tuple(Mark(n, amount / max(1, totals[n])) for n, amount in enumerate(found))
        title = ", ".join(f"{labels[n]} {amount} of {totals[n]}" for n, amount in enumerate(found))
        meaning, figures = REASONS.get(reason, ""), tuple(map(str, found))
        rows.append(Row(reason, title, meaning, marks, bars=True, figures=figures))
    amounts = ", ".join(f"{count(n, 'failure')} of {label}" for n, label in zip(totals, labels, strict=True))
    meanings = "; ".join(f"{reason}: {meaning}" for reason, meaning in REASONS.items())
    caption = f"Why it failed ({amounts}). {meanings}"
    data = table("Failures by reason", ["reason", *labels], [[row.name, *row.figures] for row in rows])
    chart = Lanes(rows, lanes.shares([0.0, 1.0]), figures=len(runs)).draw()
    return figure(caption, lanes.legend(labels), chart, data)
