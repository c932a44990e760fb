"""What every section is built of: a figure with its caption, its table, boxes that scroll."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from steadyphi.report.markup import Markup, tag


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its heading (also in the list of contents), what it holds."""

    anchor: str
    heading: str
    body: Markup


def figure(caption: str, legend: Markup | None, chart: Markup, data: Markup) -> Markup:
    """Return a chart under its caption, with the same numbers as a table to unfold."""
    details = tag("details", tag("summary", "The same as a table"), data)
    return tag("figure", tag("figcaption", caption), legend, chart, details)


def scrolling(name: str, *children: Any) -> Markup:
    """Return a box that scrolls sideways by itself, by keyboard too, so that the page never does."""
    return tag("div", *children, class_="scroll", role="region", aria_label=name, tabindex=0)


def table(name: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], words: int = 1) -> Markup:
    """Return a table in a box of its own; the first cell of a row is its heading.

    words: how many of the leading columns are text; those after them are figures, set flush right.
    """

    def kind(n: int) -> str | None:
        return "figure" if n >= words else None

    head = tag("tr", *(tag("th", text, scope="col", class_=kind(n)) for n, text in enumerate(heads)))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", c, class_=kind(n)) for n, c in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    return scrolling(name, tag("table", tag("caption", name), tag("thead", head), tag("tbody", *body)))
