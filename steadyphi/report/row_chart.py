"""Charts made of rows: a name, a lane with the values drawn on a common scale, and the values as text.

Each lane is an SVG element of its own with horizontal positions in percent. A chart therefore fills any
width with letters of one size, and on a narrow screen the name moves above its lane.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.wording import percent, points

MARGIN = 3.0  # percent of a lane, left free on each side for marks and for the outer labels of the axis
LONG = 26  # letters; if a name is longer, the column of names is wider
STRIP_COLUMNS = 60  # columns of a strip; dots in the same column are stacked


@dataclass(frozen=True)
class Scale:
    """A horizontal axis from the first to the last of its ticks; `text` returns a tick's label."""

    ticks: tuple[float, ...]
    text: Callable[[float], str]

    def at(self, value: float) -> str:
        """Return the position of a value in percent of the lane's width, at an end if it is outside."""
        low, high = self.ticks[0], self.ticks[-1]
        inside = min(max(value, low), high)
        return f"{MARGIN + (100 - 2 * MARGIN) * (inside - low) / (high - low):.2f}%"


def shares(values: Sequence[float]) -> Scale:
    """Return a scale in percent around shares between 0 and 1, at least two points wide."""
    low = max(0.0, min(*values, max(values) - 0.02))
    high = min(1.0, max(*values, low + 0.02))
    return Scale(_ticks(low, high), lambda v: f"{100 * v:g}%")


def differences(values: Sequence[float]) -> Scale:
    """Return a scale in points with zero in the middle."""
    most = max([abs(v) for v in values] + [0.01])
    return Scale(_ticks(-most, most), lambda v: points(v).removesuffix(".0"))


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Return at most seven round numbers that enclose low and high."""
    for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0):
        first = math.floor(low / step + 1e-9)
        last = max(math.ceil(high / step - 1e-9), first + 1)
        if last - first <= 6:
            return tuple(round(n * step, 6) for n in range(first, last + 1))
    return (low, high)


@dataclass(frozen=True)
class Mark:
    """The value of a run with its interval; run 0 is a circle, run 1 a square in another colour."""

    run: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Strip:
    """The distribution of a run: a dot for each value, and the five quantiles under them if there are any."""

    run: int
    values: tuple[float, ...]
    quantiles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Row:
    """A row of the chart.

    title and detail: what the lane shows, in words, for screen readers and on hovering.
    bars: whether marks are drawn as bars from zero. figures: short texts at the end of the row.
    notes: labels after the name. kind: "", "default" (highlighted), "group" (a heading over the rows that
    follow) or "gap" (rows are left out).
    """

    name: str
    title: str = ""
    detail: str = ""
    marks: tuple[Mark, ...] = ()
    strips: tuple[Strip, ...] = ()
    bars: bool = False
    figures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class RowChart:
    """A chart of rows on one scale; `rules` are vertical lines: (value, CSS class)."""

    rows: Sequence[Row]
    scale: Scale
    rules: Sequence[tuple[float, str]] = field(default=())
    figures: int = 0  # the number of columns of figures

    def draw(self) -> Markup:
        """Return the chart."""
        rows = [self._row(row) for row in self.rows]
        wide = " wide" if any(len(row.name) > LONG for row in self.rows) else ""
        return tag(
            "div",
            self._axis(),
            *rows,
            class_=f"row-chart figures{self.figures}{wide}",
        )

    def _axis(self) -> Markup:
        ticks = self.scale.ticks
        labels = [
            tag("text", self.scale.text(v), x=self.scale.at(v), y=13, class_="tick middle") for v in ticks
        ]
        return tag(
            "div", tag("svg", *labels, class_="lane", height=18, aria_hidden="true"), class_="row axis"
        )

    def _row(self, row: Row) -> Markup:
        if row.kind in ("group", "gap"):
            return tag("p", row.name, class_=f"row {row.kind}")
        notes = [tag("span", note, class_="note") for note in row.notes]
        name = tag("span", tag("span", row.name, class_="label"), *notes, class_="name")
        figures = tag(
            "span",
            *(tag("span", text, class_=f"run{n}") for n, text in enumerate(row.figures)),
            class_="values",
            aria_hidden="true",
        )
        return tag("div", name, self._lane(row), figures, class_=f"row {row.kind}".strip())

    def _lane(self, row: Row) -> Markup:
        several = len(row.marks) > 1
        height = 26 * len(row.strips) + 14 if row.strips else 26 if several else 22
        lines = [_line(self.scale.at(v), self.scale.at(v), 0, height, "grid") for v in self.scale.ticks]
        lines += [_line(self.scale.at(v), self.scale.at(v), 0, height, kind) for v, kind in self.rules]
        drawn = [
            (self._bar if row.bars else self._whisker)(mark, height / 2 + (mark.run * 8 - 4) * several)
            for mark in row.marks
        ]
        drawn += [
            self._strip(strip, height * (n + 0.5) / len(row.strips)) for n, strip in enumerate(row.strips)
        ]
        return tag(
            "svg",
            tag("title", f"{row.name}: {row.title}"),
            tag("desc", row.detail) if row.detail else None,
            *lines,
            *drawn,
            class_="lane",
            height=f"{height:g}",
            role="img",
        )

    def _whisker(self, mark: Mark, y: float) -> Markup:
        line = None
        if mark.low is not None and mark.high is not None:
            line = _line(self.scale.at(mark.low), self.scale.at(mark.high), y, y, "whisker")
        return tag("g", line, shape(mark.run, self.scale.at(mark.value), y), class_=f"run{mark.run}")

    def _bar(self, mark: Mark, y: float) -> Markup:
        start, end = self.scale.at(0), self.scale.at(mark.value)
        width = f"{float(end[:-1]) - float(start[:-1]):.2f}%"
        bar = tag("rect", x=start, y=f"{y - 3:g}", width=width, height=6, class_="bar")
        return tag("g", bar, class_=f"run{mark.run}")

    def _strip(self, strip: Strip, y: float) -> Markup:
        at = self.scale.at
        parts = []
        if strip.quantiles:
            q5, q25, q50, q75, q95 = (at(q) for q in strip.quantiles)
            parts += [_line(q5, q95, y + 10, y + 10, "whisker"), _line(q25, q75, y + 10, y + 10, "box")]
            parts.append(_line(q50, q50, y + 5, y + 15, "median"))
        seen: dict[int, int] = {}
        for value in sorted(strip.values):
            column = int(float(at(value)[:-1]) * STRIP_COLUMNS / 100)
            seen[column] = seen.get(column, -1) + 1
            parts.append(shape(strip.run, at(value), y - 2 - 3 * min(seen[column], 4)))
        return tag("g", join(parts), class_=f"run{strip.run} strip")


def bounds(rows: Sequence[Row]) -> list[float]:
    """Return the values of all marks and the ends of their intervals, which a scale must contain."""
    marks = [mark for row in rows for mark in row.marks]
    return [b for mark in marks for b in (mark.value, mark.low, mark.high) if b is not None]


def shape(run: int, x: str, y: float | str) -> Markup:
    """Return the mark of a run: an open circle or a filled square, to be told apart without colours.

    x, y: of its centre; y in pixels, or as text.
    """
    y = y if isinstance(y, str) else f"{y:g}"
    if run == 0:
        return tag("circle", cx=x, cy=y, r=4)
    return tag("rect", x=x, y=y, width=8, height=8, transform="translate(-4 -4)")


def legend(labels: Sequence[str], *others: tuple[str, str]) -> Markup:
    """Return the legend of a chart: the mark of each run; others: (CSS class of a line, text) pairs."""
    keys = [(join([tag("g", shape(n, "8", 8), class_=f"run{n}")]), text) for n, text in enumerate(labels)]
    keys += [(_line("8", "8", 0, 16, kind), text) for kind, text in others]
    entries = [
        tag("li", tag("svg", drawn, width=16, height=16, aria_hidden="true"), text) for drawn, text in keys
    ]
    return tag("ul", *entries, class_="legend")


def in_words(
    labels: Sequence[str], marks: Sequence[Mark], text: Callable[[float], str] = percent
) -> tuple[str, str]:
    """Return the title and the detail of a row: the value of each run, and the interval of each run."""
    values = ", ".join(f"{labels[m.run]} {text(m.value)}" for m in marks)
    intervals = [
        f"{labels[m.run]} {text(m.low)} to {text(m.high)}"
        for m in marks
        if m.low is not None and m.high is not None
    ]
    return values, "intervals: " + ", ".join(intervals) if intervals else ""


def _line(x1: str, x2: str, y1: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=x1, x2=x2, y1=f"{y1:g}", y2=f"{y2:g}", class_=kind)
