"""Accuracy per format: ranked, as a distribution, and by skill."""

import itertools
from collections.abc import Callable, Mapping, Sequence

from steadyphi.report import prompts, reading, row_chart
from steadyphi.report.figures import Section, figure, table
from steadyphi.report.heatmap import Cell, heatmap
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.row_chart import Mark, Row, RowChart, Strip
from steadyphi.report.wording import count, percent, share_interval
from steadyphi.results.experiment import Experiment
from steadyphi.results.result import Result, SkillRow, VariantRow
from steadyphi.stats import measures

MOST = 30  # rows of a set in the ranking; of more formats, the best and the worst are drawn
MOST_SHADED = 40  # rows of the heatmap
SCORERS: Mapping[str, Callable[[VariantRow], float | None]] = {
    "log-probability": lambda row: row.accuracy,
    "normalized by length": lambda row: row.normalized,
    "calibrated": lambda row: row.calibrated,
    "batch-calibrated": lambda row: row.batch_calibrated,
    "any beginning": lambda row: row.any_beginning,
    "averaged with two other formats": lambda row: row.panel,
    "generated text": lambda row: row.open.accuracy if row.open else None,
}
FIRST = "log-probability"  # the scorer that quantiles are of
QUANTILES = tuple(map(str, measures.QUANTILES))


def ranking(experiment: Experiment) -> Section:
    """Return the ranked formats of each set with their intervals; the default and chance are marked."""
    runs = experiment.runs
    labels = [run.label for run in runs]
    rows = _rows(runs)
    chance = runs[0].chance
    scale = row_chart.shares([*row_chart.bounds(rows), chance])
    chart = RowChart(rows, scale, [(chance, "chance")], figures=len(runs)).draw()
    key = row_chart.legend(labels, ("chance", f"choosing blindly, {percent(chance)}"))
    caption = (
        f"Accuracy in each format with its {runs[0].confidence:.0%} interval, best for "
        f"{reading.model(runs[0])} on top. ␣ is a space, ⏎ a newline, ⇥ a tab, … the question"
    )
    body = figure(caption, key, chart, _variants(runs))
    return Section("ranking", "Formats, from best to worst", body)


def _rows(runs: Sequence[Result]) -> list[Row]:
    """Return the rows of the formats under the headings of their sets."""
    sets = {of_set.title: [row.name for row in of_set.rows[0]] for of_set in reading.format_sets(runs)}
    shown = {name for names in sets.values() for name in names}
    names = reading.distinct(row.name for run in runs for row in reading.formats(run))
    drawn = [name for name in names if name not in shown]
    if drawn:
        sets["Drawn from the whole grammar"] = drawn
    rows: list[Row] = []
    for title, members in sets.items():
        rows += [Row(f"{title}: {count(len(members), 'format')}", kind="group"), *_ranked_set(members, runs)]
    return rows


def _ranked_set(names: Sequence[str], runs: Sequence[Result]) -> list[Row]:
    """Return the rows of a set; where formats are left out, a row states how many."""
    drawn = set(_ends(names, runs[0].default, MOST))
    rows: list[Row] = []
    for is_drawn, members in itertools.groupby(names, drawn.__contains__):
        if is_drawn:
            rows += [_ranked(name, runs) for name in members]
        else:
            rows.append(Row(f"{count(len(list(members)), 'format')} between; see the table", kind="gap"))
    return rows


def _ends(names: Sequence[str], default: str, most: int) -> Sequence[str]:
    """Return all names, or if there are more than `most`, the first and last ones and the default."""
    if len(names) <= most:
        return names
    kept = {*names[: most // 2], *names[-(most // 2) :], default}
    return [name for name in names if name in kept]


def _ranked(name: str, runs: Sequence[Result]) -> Row:
    of_runs = reading.across(runs, name)
    marks = tuple(Mark(n, v.accuracy, v.low, v.high) for n, v in enumerate(of_runs) if v)
    default = name == runs[0].default
    title, detail = row_chart.in_words([run.label for run in runs], marks)
    return Row(
        prompts.label(next(v for v in of_runs if v)),
        title,
        detail,
        marks,
        figures=tuple(percent(v.accuracy) if v else "–" for v in of_runs),
        notes=("default",) if default else (),
        kind="default" if default else "",
    )


def _variants(runs: Sequence[Result]) -> Markup:
    """Return the table of all variants in all runs: accuracy under each scorer, and the token boundary."""
    variants = [row for run in runs for row in run.variants]
    scorers = {
        name: scorer for name, scorer in SCORERS.items() if any(scorer(row) is not None for row in variants)
    }
    heads = ["variant", "family", "run", *scorers, "interval", "questions", "prompt meets answer"]
    rows = [
        [
            _named(row),
            row.family,
            run.label,
            *(percent(scorer(row)) for scorer in scorers.values()),
            share_interval(row.low, row.high),
            row.items,
            tag("code", row.boundary),
        ]
        for run in runs
        for row in sorted(run.variants, key=lambda row: -row.accuracy)
    ]
    return table("Every variant in every run", heads, rows, words=3)


def _named(row: VariantRow) -> Markup:
    """Return what a variant is called on the page; its title is its name in the CSV files."""
    return tag("span", prompts.label(row), title=row.name)


def distribution(experiment: Experiment) -> Section | None:
    """Return the distributions of accuracy over formats, for each run and scorer; None for few formats."""
    runs = experiment.runs
    labels = [run.label for run in runs]
    strips = _all_strips(runs)
    values = [value for of_runs in strips.values() for strip in of_runs for value in strip.values]
    if len(values) < 3:
        return None
    rows = [_strip_row(name, of_runs, labels) for name, of_runs in strips.items()]
    chance = runs[0].chance
    chart = RowChart(rows, row_chart.shares([*values, chance]), [(chance, "chance")]).draw()
    caption = (
        "Each mark is a format. Below the first strips: 5% to 95% of these formats (line), "
        "25% to 75% (bar) and the median."
    )
    if len(rows) > 1:
        caption += " Where strips differ much, the spread comes from the scorer rather than from the model."
    data = join([_quantiles(runs), _ranges(strips, labels)])
    body = figure(caption, row_chart.legend(labels, ("chance", "choosing blindly")), chart, data)
    return Section("distribution", "Accuracy over all formats", body)


def _all_strips(runs: Sequence[Result]) -> dict[str, tuple[Strip, ...]]:
    """Return the strips by the name of their row: the named formats under each scorer, then the other sets.

    These are apart because quantiles, like the measures, are of the named formats.
    """
    strips = {name: _strips(runs, scorer, "format", name == FIRST) for name, scorer in SCORERS.items()}
    strips["of held-out atoms"] = _strips(runs, SCORERS[FIRST], "unseen", False)
    strips["drawn by grammar"] = _strips(runs, SCORERS[FIRST], "grammar", False)
    return {name: of_runs for name, of_runs in strips.items() if of_runs}


def _strips(
    runs: Sequence[Result], scorer: Callable[[VariantRow], float | None], family: str, quantiles: bool
) -> tuple[Strip, ...]:
    strips = []
    for n, run in enumerate(runs):
        rows = [row for row in reading.formats(run) if row.family == family]
        values = tuple(value for row in rows if (value := scorer(row)) is not None)
        if values:
            marked = tuple(run.quantiles[q] for q in QUANTILES) if quantiles else ()
            strips.append(Strip(n, values, marked))
    return tuple(strips)


def _strip_row(name: str, strips: tuple[Strip, ...], labels: Sequence[str]) -> Row:
    title = ", ".join(
        f"{labels[s.run]} from {percent(min(s.values))} to {percent(max(s.values))}" for s in strips
    )
    medians = [f"{labels[s.run]} median {percent(s.quantiles[2])}" for s in strips if s.quantiles]
    return Row(name, title, ", ".join(medians), strips=strips)


def _quantiles(runs: Sequence[Result]) -> Markup:
    rows = [[run.label, *(percent(run.quantiles[q]) for q in QUANTILES)] for run in runs]
    heads = ["run", *(f"{q}% of formats are below" for q in QUANTILES)]
    return table("Quantiles of accuracy over formats", heads, rows)


def _ranges(strips: Mapping[str, tuple[Strip, ...]], labels: Sequence[str]) -> Markup:
    rows = [
        [name, labels[s.run], percent(min(s.values)), percent(max(s.values))]
        for name, of_runs in strips.items()
        for s in of_runs
    ]
    return table("Worst and best format under each scorer", ["scorer", "run", "worst", "best"], rows, words=2)


def skills(experiment: Experiment) -> Section | None:
    """Return the heatmap of formats and skills for each run; None unless there are two skills or more."""
    runs = [run for run in experiment.runs if len({row.skill for row in run.skills}) > 1]
    figures = [_skills(run, len(experiment.runs) > 1) for run in runs]
    return Section("skills", "Which skill suffers in which format", join(figures)) if figures else None


def _skills(run: Result, several: bool) -> Markup:
    cells = {(row.variant, row.skill): row for row in run.skills}
    columns = sorted({row.skill for row in run.skills})
    asked = {row.variant for row in run.skills}
    names = [row.name for row in reading.formats(run) if row.name in asked]
    title = "Accuracy in percent by format and skill" + (f", {reading.model(run)}" if several else "")
    if len(names) > MOST_SHADED:
        title += f": the {MOST_SHADED // 2} best and worst formats"
    drawn = _ends(names, run.default, MOST_SHADED)
    grid = [[_cell(cells.get((name, skill))) for skill in columns] for name in drawn]
    labels = {row.name: prompts.label(row) for row in run.variants}
    rows = [
        [
            labels[name],
            *(percent(cells[name, skill].accuracy) if (name, skill) in cells else "" for skill in columns),
        ]
        for name in names
    ]
    about = "Rows are formats, best on top; columns are skills."
    chart = heatmap(title, about, [labels[name] for name in drawn], columns, grid)
    return figure(title, None, chart, table("Accuracy by format and skill", ["format", *columns], rows))


def _cell(row: SkillRow | None) -> Cell | None:
    if row is None:
        return None
    title = f"{row.variant}, {row.skill}: {percent(row.accuracy)} of {row.items}"
    return Cell(row.accuracy, title)
