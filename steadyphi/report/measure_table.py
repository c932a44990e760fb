"""The table of all measures, each with its meaning."""

import re
from collections.abc import Sequence

from steadyphi.report import reading
from steadyphi.report.effects import ALPHA
from steadyphi.report.families import star
from steadyphi.report.figures import Section, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.wording import change_interval_text, change_text, interval_text, percent, text
from steadyphi.results.experiment import Experiment
from steadyphi.results.result import Estimate
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.comparison import MeasureChange
from steadyphi.stats.estimate import Measure

PAPER = re.compile(r"\[(.+)\]\(https:")  # a measure's source, if it is a link to a paper


def section(experiment: Experiment) -> Section:
    """Return the table of the measures that a run has, in the catalogue's order."""
    runs = [run.measures for run in experiment.runs]
    changes = reading.changes(experiment)
    rows = [
        [
            _head(measure),
            *(_value(measure, run.get(key)) for run in runs),
            *([_change(measure, changes.get(key))] if experiment.comparison else []),
        ]
        for key, measure in CATALOGUE.items()
        if any(key in run for run in runs)
    ]
    heads: Sequence[str] = [
        "measure",
        *(run.label for run in experiment.runs),
        *(["change"] if experiment.comparison else []),
    ]
    drawn = table("All measures, with intervals", heads, rows)
    if experiment.comparison is None:
        return Section("measures", "All measures", drawn)
    note = (
        "The changes are those of this training run; their intervals are over questions. A star marks "
        "changes that are significant after adjustment for the number of all changes of measures in this "
        f"report: at most {percent(ALPHA)} of the stars are expected to be wrong."
    )
    return Section("measures", "All measures", join([drawn, tag("p", note, class_="quiet")]))


def _head(measure: Measure) -> Markup:
    """Return the name and the meaning of a measure, its unit if its values do not show it, and its paper."""
    facts = [] if measure.unit in ("share", "points") else [f"Unit: {measure.unit}"]
    if paper := PAPER.match(measure.source):
        facts.append(f"Source: {paper[1]}")
    return tag(
        "span",
        measure.name,
        tag("small", measure.meaning),
        tag("small", "; ".join(facts)) if facts else None,
    )


def _value(measure: Measure, estimate: Estimate | None) -> Markup:
    if estimate is None:
        return _cell("–", "")
    return _cell(text(measure, estimate.value), interval_text(measure, estimate.low, estimate.high))


def _change(measure: Measure, change: MeasureChange | None) -> Markup:
    if change is None:
        return _cell("–", "")
    interval = change_interval_text(measure, change.low, change.high)
    return _cell(change_text(measure, change.change) + star(change), interval)


def _cell(value: str, interval: str) -> Markup:
    return tag("span", value, tag("small", interval) if interval else None)
