"""Shares as a table of shaded cells, whose row heads stay in sight when it scrolls sideways."""

from collections.abc import Sequence
from dataclasses import dataclass

from steadyphi.report.figures import scrolling
from steadyphi.report.markup import Markup, tag

SHADES = 10  # .s0 to .s9 in charts.css, for both colour schemes


@dataclass(frozen=True)
class Cell:
    """A share between 0 and 1, and the title of its cell."""

    value: float
    title: str


def heatmap(
    title: str,
    description: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Cell | None]],
) -> Markup:
    """Return the table in a box that scrolls; a cell that is None stays empty.

    The ten shades always cover 0 to 1, so that they mean the same in every heatmap of the page.
    """
    head = tag("tr", tag("td"), *(tag("th", column, scope="col") for column in columns))
    body = [
        tag("tr", tag("th", name, scope="row"), *map(_cell, row))
        for name, row in zip(rows, cells, strict=True)
    ]
    caption = tag("caption", description)
    return scrolling(title, tag("table", caption, tag("thead", head), tag("tbody", *body), class_="heatmap"))


def shade(value: float) -> int:
    """Return the number of the shade, 0 to 9, of a share between 0 and 1."""
    return min(SHADES - 1, max(0, int(value * SHADES + 1e-9)))


def _cell(cell: Cell | None) -> Markup:
    if cell is None:
        return tag("td")
    return tag("td", f"{100 * cell.value:.0f}", title=cell.title, class_=f"s{shade(cell.value)}")
