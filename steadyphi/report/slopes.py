"""Accuracy of each format before and after, as one column per format: the picture of the first screen."""

from collections.abc import Sequence

from steadyphi.report import prompts, row_chart
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.reading import FormatSet
from steadyphi.report.row_chart import Scale
from steadyphi.report.wording import count, percent
from steadyphi.results.result import VariantRow

MARGIN = 4.0  # percent of the height, left free above and below for the marks


def slopes(sets: Sequence[FormatSet], labels: Sequence[str], chance: float) -> Markup:
    """Return a plot for each set of formats, all on one scale, with one legend.

    labels: of the runs. A column is a format: a circle for the first run, a square for the second.
    """
    rows = [row for of_set in sets for of_run in of_set.rows for row in of_run]
    scale = row_chart.shares([chance, *(row.accuracy for row in rows)])
    plots = [_plot(of_set, labels, chance, scale) for of_set in sets]
    legend = row_chart.legend(labels, ("chance", f"choosing blindly, {percent(chance)}"))
    return join([tag("div", *plots, class_="slopes"), legend])


def ends(rows: Sequence[VariantRow]) -> str:
    """Return the accuracy in the worst and in the best of these formats."""
    accuracies = [row.accuracy for row in rows]
    return f"{percent(min(accuracies))} to {percent(max(accuracies))}"


def _plot(of_set: FormatSet, labels: Sequence[str], chance: float, scale: Scale) -> Markup:
    ranges = [f"{label} {ends(rows)}" for label, rows in zip(labels, of_set.rows, strict=True)]
    caption = tag(
        "p",
        tag("span", tag("b", of_set.title), f" · {count(len(of_set.rows[0]), 'format')}"),
        *(tag("span", text, class_=f"run{n}") for n, text in enumerate(ranges)),
        title=of_set.meaning or None,
    )
    lines = [_rule(_y(scale, tick), "grid") for tick in scale.ticks]
    columns = [_column(rows, labels, scale) for rows in zip(*of_set.rows, strict=True)]
    plot = tag(
        "svg",
        tag("title", f"{of_set.title}: accuracy in each format, {', '.join(ranges)}"),
        tag("desc", f"{of_set.meaning} Each column is a format, the best before on the left.".strip()),
        *lines,
        _rule(_y(scale, chance), "chance"),
        *(_placed(column, (n + 0.5) / len(columns)) for n, column in enumerate(columns)),
        role="img",
        class_="plot",
    )
    ticks = [
        tag("text", scale.text(tick), x=34, y=_y(scale, tick), dy=4, class_="end tick")
        for tick in scale.ticks
    ]
    axis = tag("svg", *ticks, width=38, aria_hidden="true", class_="ticks")
    return tag("div", caption, axis, plot, class_=f"slope {of_set.key}")


def _column(rows: Sequence[VariantRow], labels: Sequence[str], scale: Scale) -> Markup:
    """Return the marks of a format and the line between them, at x = 0."""
    heights = [_y(scale, row.accuracy) for row in rows]
    words, _ = row_chart.in_words(labels, [row_chart.Mark(run, row.accuracy) for run, row in enumerate(rows)])
    line = tag("line", x1=0, x2=0, y1=heights[0], y2=heights[-1], class_="step")
    marks = [tag("g", row_chart.shape(run, "0", y), class_=f"run{run}") for run, y in enumerate(heights)]
    return join([tag("title", f"{prompts.label(rows[0])}: {words}"), line, *marks])


def _placed(column: Markup, share: float) -> Markup:
    """Return a column at a share of the plot's width; only nested svg elements can be placed in percent."""
    return tag("svg", column, x=f"{100 * share:.2f}%", class_="slot", aria_hidden="true")


def _rule(y: str, kind: str) -> Markup:
    return tag("line", x1="0%", x2="100%", y1=y, y2=y, class_=kind)


def _y(scale: Scale, value: float) -> str:
    """Return the vertical position of a value in percent of the height, which style.css gives."""
    low, high = scale.ticks[0], scale.ticks[-1]
    return f"{MARGIN + (100 - 2 * MARGIN) * (high - value) / (high - low):.2f}%"
