"""What changed from the first run to the second besides the formats: other variants and long prompts."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from steadyphi.report import row_chart
from steadyphi.report.effects import ALPHA, FAMILIES
from steadyphi.report.figures import figure, table
from steadyphi.report.markup import Markup
from steadyphi.report.row_chart import Mark, Row, RowChart
from steadyphi.report.wording import change_interval_text, change_text, count, probability, text
from steadyphi.results.experiment import FamilyChange
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.comparison import MeasureChange


class ChangeTexts(NamedTuple):
    """The change of a measure as text: its name, the values, the change and the interval of the change."""

    name: str
    before: str
    after: str
    change: str
    interval: str


def chart(families: Sequence[FamilyChange], labels: Sequence[str]) -> Markup | None:
    """Return the chart of the changes with its table; None if both runs have nothing but formats in common.

    labels: of the two runs.
    """
    if not families:
        return None
    rows: list[Row] = []
    for group, members in itertools.groupby(families, heading):
        rows.append(Row(group, kind="group"))
        rows += [_row(family, change, labels) for family in members for change in family.measures]
    caption = (
        f"Other variants and long prompts: the change from {labels[0]} to {labels[1]} in this training run, "
        "on the same questions, in points, with its interval. The numbers beside it are the values before "
        "and after. A star marks changes that are significant after adjustment for the number of changes"
    )
    scale = row_chart.differences(row_chart.bounds(rows))
    drawn = RowChart(rows, scale, [(0.0, "zero")], figures=2).draw()
    heads = ["asked", "measure", *labels, "change", "interval", "q", "questions", "variants"]
    cells = [
        [family.name, *texts(change), probability(change.q_value), family.items, family.variants]
        for family in families
        for change in family.measures
    ]
    return figure(caption, None, drawn, table("Change of other variants and long prompts", heads, cells, 2))


def heading(family: FamilyChange) -> str:
    """Return the heading over a family's measures; kinds of long prompts share one heading."""
    asked = count(family.items, "question")
    if family.part == "long":
        return f"Long prompts: {asked} at each length and depth"
    asked += f", {count(family.variants, 'variant')}"
    if family.part == "options":
        return f"Order of the options {family.name}: {asked}"
    return f"{FAMILIES.get(family.name, family.name)}: {asked}"


def name(family: FamilyChange, change: MeasureChange) -> str:
    """Return the name of a row under its heading: the kind of long prompts, else the measure."""
    return family.name if family.part == "long" else CATALOGUE[change.key].name


def texts(change: MeasureChange) -> ChangeTexts:
    """Return the change of a measure as text."""
    measure = CATALOGUE[change.key]
    return ChangeTexts(
        measure.name,
        text(measure, change.before),
        text(measure, change.after),
        change_text(measure, change.change),
        change_interval_text(measure, change.low, change.high),
    )


def star(change: MeasureChange) -> str:
    """Return a star for a change that is significant after adjustment for the number of changes."""
    return "*" if change.q_value is not None and change.q_value < ALPHA else ""


def _row(family: FamilyChange, change: MeasureChange, labels: Sequence[str]) -> Row:
    shown = texts(change)
    return Row(
        name(family, change),
        f"{labels[0]} {shown.before}, {labels[1]} {shown.after}, {shown.change}",
        f"interval: {shown.interval}" if shown.interval else "",
        (Mark(1, change.change, change.low, change.high),),
        figures=(shown.before.removesuffix(" points"), shown.after.removesuffix(" points") + star(change)),
    )
