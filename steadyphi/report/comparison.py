"""Before and after: the accuracy of each format in both runs, the gate, and the changes of all else."""

from steadyphi.report import families, row_chart
from steadyphi.report.figures import Section, figure, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.scatter import Dot, scatter
from steadyphi.report.wording import number, percent, points, points_interval
from steadyphi.results.experiment import Experiment
from steadyphi.stats.catalogue import used_in
from steadyphi.stats.comparison import VariantChange


def section(experiment: Experiment) -> Section | None:
    """Return the comparison of both runs; None for a single run."""
    comparison = experiment.comparison
    if comparison is None:
        return None
    before, after = (run.label for run in experiment.runs)
    rows = comparison.variants
    dots = [
        Dot(
            row.name,
            row.before,
            row.after,
            f"{row.name}: {before} {percent(row.before)}, {after} {percent(row.after)}",
        )
        for row in rows
    ]
    scale = row_chart.shares([x for row in rows for x in (row.before, row.after)])
    better = sum(row.after > row.before for row in rows)
    caption = (
        f"Accuracy before and after: in this training run, {better} of {len(rows)} formats became better "
        "(above the diagonal)"
    )
    chart = scatter(
        "Accuracy before and after", caption, (f"{before}, accuracy", f"{after}, accuracy"), scale, dots
    )
    heads = ["format", before, after, "change", "interval", "p (Holm)"]
    parts = [
        tag("p", _passed()) if comparison.gate.passed else None,  # a failure is among the alarms
        figure(caption, None, chart, table("Change of every format", heads, map(_cells, rows))),
        families.chart(comparison.families, [before, after]),
    ]
    return Section("comparison", "Before and after", join(parts))


def _passed() -> str:
    watched = ", ".join(measure.label for measure in used_in("gate"))
    return (
        f"The gate is passed: in this training run, none of its measures got significantly worse ({watched})."
    )


def _cells(row: VariantChange) -> list[str | Markup]:
    return [
        row.name,
        percent(row.before),
        percent(row.after),
        points(row.change),
        points_interval(row.low, row.high),
        number(row.p_holm),
    ]
