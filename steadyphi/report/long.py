"""Long prompts: recall by length and depth, rules that are followed, and the causes of failures."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from steadyphi.report import reading, row_chart
from steadyphi.report.figures import Section, figure, table
from steadyphi.report.heatmap import Cell, heatmap
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.row_chart import Mark, Row, RowChart, Scale
from steadyphi.report.wording import count, percent, points, share_interval
from steadyphi.results.experiment import Experiment
from steadyphi.results.result import LongShare, LongSummary, Result


class Part(NamedTuple):
    """A part of the long prompts that is drawn as a small chart.

    kind, share: the heads of these columns of the table.
    """

    shares: Callable[[LongSummary], list[LongShare]]
    kind: str
    share: str
    caption: str


PARTS = (
    Part(
        lambda long: long.rules,
        "position",
        "followed",
        "Rules that are followed, by the position of the instruction",
    ),
    Part(
        lambda long: long.padding,
        "kind",
        "accuracy",
        "The same questions after padding, by kind of padding",
    ),
    Part(
        lambda long: long.tracking,
        "task",
        "accuracy",
        "Keeping track of several keys or variables",
    ),
)
CAUSES = {
    "forgot": "gave a value that is not in the prompt",
    "ignored": "followed the distractor",
    "misread": "gave the value of another key",
    "echoed": "repeated the question or the filler",
    "other": "something else",
}


def section(experiment: Experiment) -> Section | None:
    """Return the results of long prompts; None if no run has any."""
    runs = experiment.runs
    summaries = [run.long for run in runs]
    if not any(summaries):
        return None
    labels = [run.label for run in runs]
    small = [chart for part in PARTS if (chart := _small(part, summaries, labels))]
    parts = [
        *(tag("p", _in_short(run, run.long)) for run in runs if run.long),
        *(_needle(run, run.long) for run in runs if run.long and run.long.needle),
        tag("div", *small, class_="small-charts") if small else None,
        _failures(summaries, labels),
    ]
    return Section("long", "Long prompts", join(parts))


def _in_short(run: Result, long: LongSummary) -> str:
    length, dip = long.effective_length, long.mid_dip
    reach = (
        f"holds up to {length:,} tokens"
        if length is not None
        else "does not hold even at the shortest length"
    )
    middle = (
        f"; in the middle of a prompt it is {points(-dip)} points against its ends" if dip is not None else ""
    )
    return f"Recall of {reading.model(run)} {reach}{middle}."


def _needle(run: Result, long: LongSummary) -> Markup:
    cells = {(row.depth, row.length): row for row in long.needle if row.depth is not None}
    depths, lengths = sorted({depth for depth, _ in cells}), sorted({length for _, length in cells})
    title = f"Recall in percent of a hidden fact by its depth and the prompt's length, {reading.model(run)}"
    chart = heatmap(
        title,
        "Rows are depths of the fact in the prompt; columns are lengths in tokens. "
        "The titles of the cells contain the intervals.",
        [f"depth {_depth(depth)}" for depth in depths],
        [f"{length:,}" for length in lengths],
        [[_needle_cell(depth, cells.get((depth, length))) for length in lengths] for depth in depths],
    )
    rows = [
        [
            f"{length:,}",
            _depth(depth),
            percent(row.share),
            share_interval(row.low, row.high),
            percent(row.exact),
            row.items,
        ]
        for (depth, length), row in sorted(cells.items(), key=lambda entry: entry[0])
    ]
    heads = ["tokens", "depth", "recall", "interval", "exact match", "questions"]
    return figure(title, None, chart, table("Recall by depth and length", heads, rows))


def _needle_cell(depth: float, row: LongShare | None) -> Cell | None:
    if row is None:
        return None
    exact = f"; exact match {percent(row.exact)}" if row.exact is not None else ""
    title = (
        f"{row.length:,} tokens, depth {_depth(depth)}: {percent(row.share)} "
        f"(interval {share_interval(row.low, row.high)}) of {row.items}{exact}"
    )
    return Cell(row.share, title)


def _depth(depth: float) -> str:
    return f"{100 * depth:.0f}%"


def _small(part: Part, summaries: Sequence[LongSummary | None], labels: Sequence[str]) -> Markup | None:
    """Return the chart of a part, grouped by kind; None if no run has the part."""
    of_runs = [part.shares(long) if long else [] for long in summaries]
    if not any(of_runs):
        return None
    cells = [{(row.kind, row.length): row for row in shares} for shares in of_runs]
    rows: list[Row] = []
    for kind in reading.distinct(row.kind for shares in of_runs for row in shares):
        rows.append(Row(kind, kind="group"))
        for length in sorted({row.length for shares in of_runs for row in shares if row.kind == kind}):
            rows.append(_row(f"{length:,}", [of_run.get((kind, length)) for of_run in cells], labels))
    heads = [part.kind, "tokens", "run", part.share, "interval", "questions"]
    data = [
        [row.kind, f"{row.length:,}", label, percent(row.share), share_interval(row.low, row.high), row.items]
        for shares, label in zip(of_runs, labels, strict=True)
        for row in shares
    ]
    scale = Scale((0.0, 0.5, 1.0), row_chart.shares([0.0, 1.0]).text)  # few ticks: the lanes are short
    chart = RowChart(rows, scale, figures=len(labels)).draw()
    return figure(
        f"{part.caption}; rows are lengths in tokens",
        row_chart.legend(labels),
        chart,
        table(part.caption, heads, data, words=3),
    )


def _row(name: str, of_runs: Sequence[LongShare | None], labels: Sequence[str]) -> Row:
    marks = tuple(Mark(n, row.share, row.low, row.high) for n, row in enumerate(of_runs) if row)
    title, detail = row_chart.in_words(labels, marks)
    figures = tuple(percent(row.share) if row else "–" for row in of_runs)
    return Row(name, title, detail, marks, figures=figures)


def _failures(summaries: Sequence[LongSummary | None], labels: Sequence[str]) -> Markup | None:
    """Return the number of failures per cause; None without failures."""
    counts = [long.failures if long else {} for long in summaries]
    totals = [sum(of_run.values()) for of_run in counts]
    if not any(totals):
        return None
    rows = []
    for cause in reading.distinct([*CAUSES, *(cause for of_run in counts for cause in of_run)]):
        amounts = [of_run.get(cause, 0) for of_run in counts]
        marks = tuple(Mark(n, amount / max(1, totals[n])) for n, amount in enumerate(amounts))
        title = ", ".join(f"{labels[n]} {amount} of {totals[n]}" for n, amount in enumerate(amounts))
        figures = tuple(map(str, amounts))
        rows.append(Row(cause, title, CAUSES.get(cause, ""), marks, bars=True, figures=figures))
    failures = ", ".join(f"{count(n, 'failure')} of {label}" for n, label in zip(totals, labels, strict=True))
    meanings = "; ".join(f"{cause}: {meaning}" for cause, meaning in CAUSES.items())
    caption = f"Causes of failures ({failures}). {meanings}"
    data = table("Failures by cause", ["cause", *labels], [[row.name, *row.figures] for row in rows])
    chart = RowChart(rows, row_chart.shares([0.0, 1.0]), figures=len(labels)).draw()
    return figure(caption, row_chart.legend(labels), chart, data)
