"""Shares as a grid of shaded cells, each with its number in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from steadyphi.report.figures import scrolling
from steadyphi.report.markup import Markup, tag

SHADES = 10  # .s0 to .s9 in style.css, for both colour schemes
WIDTH, HEIGHT = 56, 26  # of a cell
LETTER = 6.9  # pixels; the greatest mean width of a label's letters
LONGEST = 30  # letters of a row's label; half as many of a column's. The title has the whole label


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
    """Return the grid in a box that scrolls; a cell that is None stays empty.

    The ten shades always cover 0 to 1, so that they mean the same in every heatmap of the page.
    """
    left = 12 + LETTER * max(len(_cut(r)) for r in rows)
    levels = 1 + max(len(c) > WIDTH / LETTER for c in columns)  # wide heads alternate between two levels
    top = 8 + 16 * levels
    parts = [
        tag(
            "text",
            tag("title", c),
            _cut(c, LONGEST // 2),
            x=f"{left + WIDTH * (x + 0.5):g}",
            y=16 + 16 * (x % levels),
            class_="middle label",
        )
        for x, c in enumerate(columns)
    ]
    for y, (name, row) in enumerate(zip(rows, cells, strict=True)):
        middle = top + HEIGHT * y + HEIGHT / 2
        parts.append(
            tag(
                "text",
                tag("title", name),
                _cut(name),
                x=f"{left - 8:g}",
                y=f"{middle + 4:g}",
                class_="end label",
            )
        )
        parts += [_cell(cell, left + WIDTH * x, middle) for x, cell in enumerate(row) if cell]
    width = left + WIDTH * len(columns) + LETTER * LONGEST / 8  # the last head may be wider than its column
    drawing = tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *parts,
        role="img",
        class_="heatmap",
        width=f"{width:.0f}",
        height=top + HEIGHT * len(rows) + 2,
    )
    return scrolling(title, drawing)


def shade(value: float) -> int:
    """Return the number of the shade, 0 to 9, of a share between 0 and 1."""
    return min(SHADES - 1, max(0, int(value * SHADES + 1e-9)))


def _cell(cell: Cell, x: float, middle: float) -> Markup:
    box = tag("rect", x=f"{x:g}", y=f"{middle - HEIGHT / 2:g}", width=WIDTH - 2, height=HEIGHT - 2, rx=2)
    text = tag(
        "text", f"{100 * cell.value:.0f}", x=f"{x + WIDTH / 2 - 1:g}", y=f"{middle + 3:g}", class_="middle"
    )
    return tag("g", tag("title", cell.title), box, text, class_=f"s{shade(cell.value)}")


def _cut(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
