"""Write the table of measures in docs/metrics.md from the catalogue: python scripts/document_measures.py"""

from pathlib import Path

from steadyphi.files import write_text
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.estimate import Measure

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
START, END = "<!-- measures -->\n", "<!-- end of measures -->\n"
HEAD = "| key | name | unit | worse | of | meaning | source | function |\n|---|---|---|---|---|---|---|---|\n"


def row(measure: Measure) -> str:
    """Return the row of a measure in the table."""
    worse = {1: "↑", -1: "↓", 0: ""}[measure.worse]
    function = measure.computed_by.removeprefix("steadyphi.stats.")
    cells = (measure.unit, worse, measure.scope, measure.meaning, measure.source)
    return f"| `{measure.key}` | {measure.name} | {' | '.join(cells)} | `{function}` |\n"


def with_table(page: str) -> str:
    """Return the page with the catalogue's table between its two markers."""
    before, rest = page.split(START)
    after = rest.split(END)[1]
    return before + START + HEAD + "".join(map(row, CATALOGUE.values())) + END + after


if __name__ == "__main__":
    write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8")))
