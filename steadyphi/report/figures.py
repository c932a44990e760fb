"""The elements of every section: figures with a caption and a table, and boxes that scroll."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from steadyphi.report.markup import Markup, tag


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its heading (also in the list of contents) and its content."""

    anchor: str
    heading: str
    body: Markup


def figure(caption: str, legend: Markup | None, chart: Markup, data: Markup) -> Markup:
    """Return a chart under its caption, with the same numbers as a table that can be unfolded."""
    details = tag("details", tag("summary", "The same as a table"), data)
    return tag("figure", tag("figcaption", caption), legend, chart, details)


def scrolling(name: str, *children: Any) -> Markup:
    """Return a box that scrolls sideways, also by keyboard, so that the page itself never does."""
    return tag("div", *children, class_="scroll", role="region", aria_label=name, tabindex=0)


def table(name: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], words: int = 1) -> Markup:
    """Return a table in a box of its own; the first cell of a row is its heading.

    words: the number of leading columns that are text; the others are figures, aligned to the right.
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
