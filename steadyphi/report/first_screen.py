"""The first screen: the verdict, three numbers, the picture, the prompt to use, and the warnings."""

from typing import Any

from steadyphi.report import reading, recommendation, verdict
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.slopes import slopes
from steadyphi.report.wording import change_interval_text, change_text, count, interval_text, percent, text
from steadyphi.results.experiment import Experiment
from steadyphi.results.result import Estimate
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.comparison import MeasureChange

# The keys of each number: over held-out formats if these were asked, else over named ones.
NUMBERS = (
    (("spread_unseen", "Spread over tested formats"), ("spread", "Spread over named formats")),
    (("accuracy_worst_unseen", "Worst tested format"), ("accuracy_worst", "Worst named format")),
    (("accuracy_best", "Best named format"),),
)


def header(experiment: Experiment, title: str) -> Markup:
    """Return the page's header. What is long folds; nothing else is needed to understand the result."""
    facts = [f"{key} {value}" for key, value in experiment.settings.items() if value not in (None, "")]
    sets = reading.format_sets(experiment.runs)
    labels = [run.label for run in experiment.runs]
    picture = [
        tag("h2", "Right answers in each format" + (", before and after" if len(labels) > 1 else "")),
        slopes(sets, labels, experiment.runs[0].chance),
        _meanings(sets),
    ]
    return tag(
        "header",
        tag("h1", title),
        tag("p", verdict.sentence(experiment), class_="verdict"),
        tag("p", _asked(experiment), class_="quiet"),
        tag(
            "div",
            tag("section", *picture, class_="picture", aria_label="Picture"),
            tag("section", numbers(experiment), recommendation.short(experiment), class_="numbers"),
            class_="first",
        ),
        _warnings(experiment),
        tag("p", " · ".join(facts), class_="facts quiet") if facts else None,
    )


def numbers(experiment: Experiment) -> Markup:
    """Return the three numbers with their intervals, before and after."""
    measures = [run.measures for run in experiment.runs]
    known = measures[0]
    shown = [next(((key, name) for key, name in choices if key in known), None) for choices in NUMBERS]
    changes = reading.changes(experiment)
    cells = [
        tag("div", tag("dt", name), *_values(key, [m.get(key) for m in measures], changes.get(key)))
        for key, name in filter(None, shown)
    ]
    confidence = f"{experiment.runs[0].confidence:.0%} intervals, over questions"
    of_one = "; one training run" if len(experiment.runs) > 1 else ""
    return join([tag("dl", *cells), tag("p", confidence, of_one, ".", class_="quiet")])


def _values(key: str, estimates: list[Estimate | None], change: MeasureChange | None) -> list[Markup]:
    measure = CATALOGUE[key]
    known = [(run, text(measure, estimate.value)) for run, estimate in enumerate(estimates) if estimate]
    values: list[Any] = []
    for place, (run, value) in enumerate(known):
        last = place == len(known) - 1  # the unit is written once
        values += [" → "] * (place > 0)
        values.append(tag("span", value if last else value.removesuffix(" points"), class_=f"run{run}"))
    if change:
        interval = change_interval_text(measure, change.low, change.high)
        around = f" ({interval.removesuffix(' points')})" if interval else ""
        words = change_text(measure, change.change) + around
    else:
        words = interval_text(measure, estimates[0].low, estimates[0].high) if estimates[0] else ""
    return [tag("dd", *values, class_="value"), tag("dd", words, class_="quiet")]


def _asked(experiment: Experiment) -> str:
    run = experiment.runs[0]
    unseen = sum(row.family == "unseen" for row in run.variants)
    formats = count(run.formats, "named format")
    others = f" and {unseen:,} formats of parts that are held out from training" if unseen else ""
    return (
        "A format is the text around a question, down to its white space. "
        f"The same {count(run.items, 'question')} were asked in {formats}{others}; "
        f"choosing blindly gets {percent(run.chance)} right."
    )


def _meanings(sets: list[reading.FormatSet]) -> Markup | None:
    parts = [tag("div", tag("dt", f"{s.title}: "), tag("dd", s.meaning)) for s in sets if s.meaning]
    return tag("dl", *parts, class_="meanings") if parts else None


def _warnings(experiment: Experiment) -> Markup | None:
    alarms, notes = verdict.alarms(experiment), verdict.notes(experiment)
    if not alarms and not notes:
        return None
    left_out = [tag("li", "Left out: ", "; ".join(notes), ".")] if notes else []
    failed = " (the gate failed)" if verdict.gate_failed(experiment) else ""
    return tag(
        "details",
        tag("summary", f"Before you rely on this: {count(len(alarms) + len(left_out), 'note')}{failed}"),
        tag("ul", *(tag("li", alarm) for alarm in alarms), *left_out),
        class_="alarms",
    )
