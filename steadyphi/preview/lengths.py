"""How long the examples are: a table whose bars are a histogram."""

import numpy as np
from numpy.typing import NDArray

from steadyphi.report.figures import scrolling
from steadyphi.report.markup import Markup, tag

MOST = 20  # bars


def lengths(counts: NDArray[np.int64]) -> Markup:
    """Return the histogram. `counts[n]` is the number of examples of n tokens."""
    width = step(len(counts) - 1)
    bins = np.add.reduceat(counts, np.arange(0, len(counts), width))
    highest, used = bins.max(), np.flatnonzero(bins)
    rows = [
        tag(
            "tr",
            tag("th", _range(n * width, width), scope="row"),
            tag("td", _bar(bins[n] / highest), class_="bar"),
            tag("td", f"{bins[n]:,}", class_="figure"),
        )
        for n in range(used[0], used[-1] + 1)
    ]
    heads = [
        tag("th", text, scope="col", class_=kind)
        for text, kind in (("tokens", None), ("", None), ("examples", "figure"))
    ]
    name = "Examples by their number of tokens, prompt and answer together"
    head, body = tag("thead", tag("tr", *heads)), tag("tbody", *rows)
    return scrolling(name, tag("table", tag("caption", name), head, body, class_="histogram"))


def step(longest: int) -> int:
    """Return the width of the bars: 1, 2 or 5 times a power of ten, so that there are at most `MOST`."""
    width, factors = 1, (2, 2.5, 2)
    for n in range(60):
        if longest < width * MOST:
            break
        width = int(width * factors[n % 3])
    return width


def _range(first: int, width: int) -> str:
    return f"{first:,}" if width == 1 else f"{first:,} to {first + width - 1:,}"


def _bar(share: float) -> Markup:
    rect = tag("rect", width=f"{100 * share:.2f}", height=1)
    return tag("svg", rect, viewBox="0 0 100 1", preserveAspectRatio="none", aria_hidden="true")
