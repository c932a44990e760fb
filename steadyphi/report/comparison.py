"""Before and after: every variant as a dot, which of them changed for sure, and all beyond the formats."""

from steadyphi.report import beyond, lanes, reading
from steadyphi.report.figures import Section, figure, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.reading import Result
from steadyphi.report.scatter import Dot, scatter
from steadyphi.report.wording import number, percent, points, points_interval


def section(result: Result) -> Section | None:
    """Return the scatter of both runs; None with one run."""
    found = result.get("comparison")
    if not found or len(result["runs"]) < 2 or not found["variants"]:
        return None
    before, after = (reading.label(run) for run in result["runs"])
    formats = {v["name"] for v in reading.formats(result["runs"][0])}
    dots = [
        Dot(
            v["name"],
            v["before"],
            v["after"],
            f"{v['name']}: {before} {percent(v['before'])}, {after} {percent(v['after'])}",
            v["name"] in formats,
        )
        for v in found["variants"]
    ]
    scale = lanes.shares([x for dot in dots for x in (dot.before, dot.after)])
    better = sum(dot.after > dot.before for dot in dots)
    caption = (
        f"Accuracy before and after: {better} of {len(dots)} variants became better (above the diagonal)"
    )
    if len(formats) < len(dots):
        caption += ". Filled dots are formats, open ones other variants"
    chart = scatter(
        "Accuracy before and after", caption, (f"{before}, accuracy", f"{after}, accuracy"), scale, dots
    )
    data = table(
        "Change of every variant",
        ["variant", before, after, "change", "interval", "p (Holm)"],
        [
            [
                v["name"],
                percent(v["before"]),
                percent(v["after"]),
                points(v["change"]),
                points_interval(v),
                number(v["p_holm"]),
            ]
            for v in found["variants"]
        ],
    )
    parts = [
        _gate(found.get("gate")),
        figure(caption, None, chart, data),
        beyond.changes(found.get("beyond") or [], [before, after]),
    ]
    return Section("comparison", "Before and after", join(parts))


def _gate(gate: dict[str, object] | None) -> Markup | None:
    """Return that the gate was passed; that it failed stands among the alarms."""
    return (
        tag("p", "The gate is passed: neither worst case nor spread got significantly worse.")
        if gate and gate["passed"]
        else None
    )
