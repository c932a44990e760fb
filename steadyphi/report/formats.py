"""Accuracy per format: ranked, as a distribution, by skill."""

from collections.abc import Mapping, Sequence
from typing import Any

from steadyphi.report import lanes, reading
from steadyphi.report.figures import Section, figure, table
from steadyphi.report.heatmap import Cell, heatmap
from steadyphi.report.lanes import Lanes, Mark, Row, Strip
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.reading import Result, Run, Variant
from steadyphi.report.wording import count, percent, share_interval
from steadyphi.stats import measures

MOST = 60  # rows of the ranking; of more formats the best and the worst are drawn
MOST_SHADED = 40  # rows of the heatmap
SCORERS = {
    "accuracy": "log-probability",
    "normalized": "normalized by length",
    "calibrated": "calibrated",
    "batch_calibrated": "batch-calibrated",
    "open": "generated text",
}
QUANTILES = tuple(map(str, measures.QUANTILES))


def ranking(result: Result) -> Section | None:
    """Return the ranked dot plot of formats with their intervals, the default and the chance line marked."""
    runs = result["runs"]
    labels = [reading.label(run) for run in runs]
    names = reading.distinct(v["name"] for run in runs for v in reading.formats(run))
    rows = _rows(names, runs, labels)
    bounds = [b for row in rows for m in row.marks for b in (m.value, m.low, m.high) if b is not None]
    chance = runs[0]["chance"]
    scale = lanes.shares([*bounds, chance])
    chart = Lanes(rows, scale, [(chance, "chance")], figures=len(runs)).draw()
    key = lanes.legend(labels, ("chance", f"choosing blindly, {percent(chance)}"))
    sure = f"{runs[0]['confidence']:.0%} interval" if runs[0].get("confidence") else "interval"
    caption = f"Accuracy in each format with its {sure}, best for {reading.model(runs[0])} on top"
    body = figure(caption, key, chart, _variants(runs, labels))
    return Section("ranking", "Formats, from best to worst", body)


def _rows(names: Sequence[str], runs: Sequence[Run], labels: Sequence[str]) -> list[Row]:
    """Return the formats' rows; where some are left out, a row says how many."""
    drawn = set(_ends(names, runs[0]["default"], MOST))
    rows: list[Row] = []
    left_out = 0
    for name in names:
        if name not in drawn:
            left_out += 1
            continue
        if left_out:
            rows.append(Row(f"{count(left_out, 'format')} between; see the table", kind="gap"))
            left_out = 0
        rows.append(_ranked(name, runs, labels))
    return rows


def _ends(names: Sequence[str], default: str, most: int) -> Sequence[str]:
    """Return all names, or of more than `most` the first and last ones and the default."""
    if len(names) <= most:
        return names
    kept = {*names[: most // 2], *names[-(most // 2) :], default}
    return [name for name in names if name in kept]


def _ranked(name: str, runs: Sequence[Run], labels: Sequence[str]) -> Row:
    found = reading.across(runs, name)
    marks = tuple(Mark(n, v["accuracy"], v["low"], v["high"]) for n, v in enumerate(found) if v)
    default = name == runs[0]["default"]
    seen = any(v["seen"] for v in found if v)
    title, detail = lanes.in_words(labels, marks)
    return Row(
        name,
        title,
        detail,
        marks,
        figures=tuple(percent(v["accuracy"]) if v else "–" for v in found),
        notes=tuple(note for note, holds in (("default", default), ("trained on", seen)) if holds),
        kind="default" if default else "",
    )


def _variants(runs: Sequence[Run], labels: Sequence[str]) -> Markup:
    """Return the table of all variants in all runs: accuracy under each scorer, and the token boundary."""
    scorers = _scorers(runs)
    heads = [
        "variant",
        "family",
        "run",
        *(SCORERS[s] for s in scorers),
        "interval",
        "questions",
        "prompt meets answer",
    ]
    rows = [
        [
            v["name"],
            v["family"],
            label,
            *(percent(v.get(s)) for s in scorers),
            share_interval(v),
            v["items"],
            tag("code", v.get("boundary") or ""),
        ]
        for run, label in zip(runs, labels, strict=True)
        for v in sorted(run["variants"], key=lambda v: -v["accuracy"])
    ]
    return table("Every variant in every run", heads, rows, words=3)


def _scorers(runs: Sequence[Run]) -> list[str]:
    return [s for s in SCORERS if any(v.get(s) is not None for run in runs for v in run["variants"])]


def distribution(result: Result) -> Section | None:
    """Return the strips of accuracy over formats: each run under each scorer, with quantiles where known."""
    runs = result["runs"]
    labels = [reading.label(run) for run in runs]
    strips = _all_strips(runs)
    values = [v for found in strips.values() for strip in found for v in strip.values]
    if len(values) < 3:
        return None
    rows = [_strip_row(name, found, labels) for name, found in strips.items()]
    scale = lanes.shares([*values, runs[0]["chance"]])
    chart = Lanes(rows, scale, [(runs[0]["chance"], "chance")]).draw()
    caption = (
        "Each mark is a format. Below the first strips: 5% to 95% of these formats (line), "
        "25% to 75% (bar) and the median."
    )
    if len(rows) > 1:
        caption += " Where strips differ much, the spread is the scorer's rather than the model's."
    data = join([_quantiles(runs, labels), _ranges(strips, labels)])
    body = figure(caption, lanes.legend(labels, ("chance", "choosing blindly")), chart, data)
    return Section("distribution", "Accuracy over all formats", body)


def _all_strips(runs: Sequence[Run]) -> dict[str, tuple[Strip, ...]]:
    """Return the strips by the row's name: the named formats under each scorer, then those of the grammar.

    These are apart, for the quantiles, like the measures, are of the named formats.
    """
    named = any(v["family"] == "format" for run in runs for v in run["variants"])
    found = {text: _strips(runs, scorer, "format" if named else None) for scorer, text in SCORERS.items()}
    if named:
        found["drawn by grammar"] = _strips(runs, "accuracy", "grammar")
    return {name: strips for name, strips in found.items() if strips}


def _strips(runs: Sequence[Run], scorer: str, family: str | None) -> tuple[Strip, ...]:
    found = []
    for n, run in enumerate(runs):
        some = [v for v in reading.formats(run) if family in (None, v["family"])]
        values = tuple(v[scorer] for v in some if v.get(scorer) is not None)
        known = run.get("quantiles") if scorer == "accuracy" and family != "grammar" else None
        if values:
            found.append(Strip(n, values, tuple(known[q] for q in QUANTILES) if known else ()))
    return tuple(found)


def _strip_row(name: str, strips: tuple[Strip, ...], labels: Sequence[str]) -> Row:
    title = ", ".join(
        f"{labels[s.run]} from {percent(min(s.values))} to {percent(max(s.values))}" for s in strips
    )
    medians = [f"{labels[s.run]} median {percent(s.quantiles[2])}" for s in strips if s.quantiles]
    return Row(name, title, ", ".join(medians), strips=strips)


def _quantiles(runs: Sequence[Run], labels: Sequence[str]) -> Markup | None:
    rows = [
        [label, *(percent(run["quantiles"][q]) for q in QUANTILES)]
        for run, label in zip(runs, labels, strict=True)
        if run.get("quantiles")
    ]
    heads = ["run", *(f"{q}% of formats are below" for q in QUANTILES)]
    return table("Quantiles of accuracy over formats", heads, rows) if rows else None


def _ranges(strips: Mapping[str, tuple[Strip, ...]], labels: Sequence[str]) -> Markup:
    rows = [
        [name, labels[s.run], *(percent(x) for x in (min(s.values), max(s.values)))]
        for name, found in strips.items()
        for s in found
    ]
    return table("Worst and best format under each scorer", ["scorer", "run", "worst", "best"], rows, words=2)


def skills(result: Result) -> Section | None:
    """Return the heatmaps skill × format, one for each run; None with no more than one skill."""
    runs = [run for run in result["runs"] if len({s["skill"] for s in run.get("skills") or []}) > 1]
    figures = [_skills(run, len(result["runs"]) > 1) for run in runs]
    return Section("skills", "Which skill suffers in which format", join(figures)) if figures else None


def _skills(run: Run, several: bool) -> Markup:
    cells = {(s["variant"], s["skill"]): s for s in run["skills"]}
    columns = sorted({s["skill"] for s in run["skills"]})
    ranked: Sequence[Variant] = [
        v for v in reading.formats(run) if any((v["name"], c) in cells for c in columns)
    ]
    rows = [v["name"] for v in ranked]
    title = "Accuracy in percent by format and skill" + (f", {reading.model(run)}" if several else "")
    if len(rows) > MOST_SHADED:
        title += f": the {MOST_SHADED // 2} best and worst formats"
    drawn = _ends(rows, run["default"], MOST_SHADED)
    grid = [[_cell(cells.get((row, column))) for column in columns] for row in drawn]
    heads = ["format", *columns]
    whole = [
        [row, *(percent(cells[row, c]["accuracy"]) if (row, c) in cells else "" for c in columns)]
        for row in rows
    ]
    chart = heatmap(title, "Rows are formats, best on top; columns are skills.", drawn, columns, grid)
    return figure(title, None, chart, table("Accuracy by format and skill", heads, whole))


def _cell(found: Mapping[str, Any] | None) -> Cell | None:
    if not found:
        return None
    title = f"{found['variant']}, {found['skill']}: {percent(found['accuracy'])} of {found['items']}"
    return Cell(found["accuracy"], title)
