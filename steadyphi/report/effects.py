"""The effects of the parts of a prompt: of the atoms of formats, and of all other changes to the prompt."""

from collections.abc import Mapping, Sequence

from steadyphi.report import prompts, reading, row_chart
from steadyphi.report.figures import Section, figure, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.row_chart import Mark, Row, RowChart
from steadyphi.report.wording import listed, number, percent, points, points_interval, text
from steadyphi.results.experiment import Experiment
from steadyphi.results.result import OptionRow, PositionMeasure, Result, VariantRow
from steadyphi.stats.attribution import Effect
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.estimate import Measure

FAMILIES = {
    "unseen": "Formats of held-out atoms",
    "grammar": "Formats drawn from the grammar",
    "instruction": "Instructions",
    "noise": "Noise in the question",
    "shots": "Examples before the question",
    "options": "Listed options and their order",
    "distractor": "An irrelevant sentence",
}
MOST = 0.995  # the share of changed prompts below which a variant's row states it
ALPHA = 0.05  # changes with a smaller p-value, adjusted for their number, get a star
POSITION_BIAS, RECALL_DEVIATION = CATALOGUE["position_bias"], CATALOGUE["recall_deviation"]

Effects = Mapping[tuple[str, str], Effect]  # of a run, by factor and level


def atoms(experiment: Experiment) -> Section | None:
    """Return the effect of each atom on accuracy, grouped by factor, the factor with the largest first."""
    runs = experiment.runs
    labels = [run.label for run in runs]
    effects = [{(e.factor, e.level): e for e in run.effects} for run in runs]
    keys = reading.distinct(key for of_run in effects for key in of_run)
    if not keys:
        return None
    rows = []
    for factor in sorted({f for f, _ in keys}, key=lambda f: (-_range(effects, f), f)):
        rows.append(Row(factor.replace("_", " "), kind="group"))
        rows += [_effect_row(key, effects, labels) for key in _ordered(factor, keys, effects)]
    scale = row_chart.differences(row_chart.bounds(rows))
    chart = RowChart(rows, scale, [(0.0, "zero")], figures=len(runs)).draw()
    data = table(
        "Effects of the formats' atoms, in points of accuracy",
        ["factor", "level", "run", "effect", "interval", "formats"],
        [
            [
                e.factor,
                _level(e.level),
                run.label,
                points(e.points),
                points_interval(e.low, e.high),
                e.variants,
            ]
            for run in runs
            for e in run.effects
        ],
        words=3,
    )
    caption = "Points of accuracy against the average of the factor, with intervals; other factors held equal"
    drawn = figure(caption, row_chart.legend(labels), chart, data)
    return Section("atoms", "What each part of a format costs", join([drawn, *map(_fit, runs)]))


def _range(effects: Sequence[Effects], factor: str) -> float:
    """Return the largest difference between two levels of a factor, over the runs."""
    values = [[e.points for e in of_run.values() if e.factor == factor] for of_run in effects]
    return max(max(of_run) - min(of_run) for of_run in values if of_run)


def _ordered(
    factor: str, keys: Sequence[tuple[str, str]], effects: Sequence[Effects]
) -> list[tuple[str, str]]:
    """Return the levels of a factor, best first in the first run that has the factor."""
    levels = [key for key in keys if key[0] == factor]
    first = next(of_run for of_run in effects if levels[0] in of_run)
    return sorted(levels, key=lambda key: -first[key].points if key in first else 0.0)


def _effect_row(key: tuple[str, str], effects: Sequence[Effects], labels: Sequence[str]) -> Row:
    of_runs = [of_run.get(key) for of_run in effects]
    marks = tuple(Mark(n, e.points, e.low, e.high) for n, e in enumerate(of_runs) if e)
    title, detail = row_chart.in_words(labels, marks, points)
    figures = tuple(points(e.points) if e else "–" for e in of_runs)
    return Row(_level(key[1]), title, detail, marks, figures=figures)


def _fit(run: Result) -> Markup | None:
    """Return how much the effects explain, and which of them cannot be told apart."""
    if not run.effects:
        return None
    fit = (
        f"For {reading.model(run)} these effects together explain {percent(run.explained)} of the variance "
        "between formats."
    )
    if run.aliased:
        fit += f" The formats asked cannot tell the effects of {listed(run.aliased)} from those of others."
    return tag("p", fit, class_="quiet")


def families(experiment: Experiment) -> Section | None:
    """Return the change against the default format of every variant that is not only another format."""
    runs = experiment.runs
    labels = [run.label for run in runs]
    variants = [[row for row in run.variants if row.family not in reading.FORMAT_FAMILIES] for run in runs]
    names = {row.name: row.family for of_run in variants for row in of_run}
    if not names:
        return None
    present = set(names.values())
    rows = []
    for family in [f for f in FAMILIES if f in present] + sorted(present - set(FAMILIES)):
        rows.append(Row(FAMILIES.get(family, family), kind="group"))
        rows += [
            _change_row(name, reading.across(runs, name), labels) for name in names if names[name] == family
        ]
    scale = row_chart.differences(row_chart.bounds(rows))
    chart = RowChart(rows, scale, [(0.0, "zero")], figures=len(runs)).draw()
    caption = (
        f"Points of accuracy against the default format {runs[0].default} on the same questions, with "
        "intervals; a star marks changes that are significant after adjustment for the number of variants"
    )
    data = table(
        "Change against the default format",
        ["variant", "family", "run", "accuracy", "change", "interval", "p (Holm)"],
        [
            [row.name, row.family, label, percent(row.accuracy), *_change_cells(row)]
            for of_run, label in zip(variants, labels, strict=True)
            for row in of_run
        ],
        words=3,
    )
    drawn = figure(caption, row_chart.legend(labels), chart, data)
    return Section("families", "Other changes to the prompt", join([drawn, _options(runs)]))


def _change_row(name: str, of_runs: Sequence[VariantRow | None], labels: Sequence[str]) -> Row:
    marks = tuple(Mark(n, v.change, v.change_low, v.change_high) for n, v in enumerate(of_runs) if v)
    title, detail = row_chart.in_words(labels, marks, points)
    figures = tuple(points(v.change) + "*" * (v.p_holm < ALPHA) if v else "–" for v in of_runs)
    changed = next(v.changed for v in of_runs if v)
    notes = (f"in {percent(changed)} of questions",) if changed < MOST else ()
    return Row(name, title, detail, marks, figures=figures, notes=notes)


def _change_cells(row: VariantRow) -> list[str]:
    return [points(row.change), points_interval(row.change_low, row.change_high), number(row.p_holm)]


def _options(runs: Sequence[Result]) -> Markup | None:
    """Return how much the positions of listed options matter, for each style of listing them."""
    rows = [_option_cells(run.label, row) for run in runs for row in run.options]
    if not rows:
        return None
    heads = [
        "style",
        "run",
        "accuracy",
        "answers that change with the order",
        POSITION_BIAS.name.lower(),
        RECALL_DEVIATION.name.lower(),
        "orders",
    ]
    drawn = table("Listed options: does their order matter?", heads, rows, words=2)
    note = (
        f"{POSITION_BIAS.name}: {_lowered(POSITION_BIAS.meaning)} "
        f"{RECALL_DEVIATION.name}: {_lowered(RECALL_DEVIATION.meaning)} "
        "Unbiased: the value to expect of a model that prefers no position."
    )
    return join([drawn, tag("p", note, class_="quiet")])


def _option_cells(label: str, row: OptionRow) -> list[str | int | Markup]:
    return [
        row.style,
        label,
        percent(row.accuracy),
        percent(row.flip_rate),
        _position_cell(POSITION_BIAS, row.position_bias),
        _position_cell(RECALL_DEVIATION, row.recall_deviation),
        row.orders,
    ]


def _position_cell(measure: Measure, position: PositionMeasure) -> Markup:
    """Return a measure of positions, and its value without a preference."""
    unbiased = f"unbiased: {text(measure, position.unbiased)}"
    return tag("span", text(measure, position.value), tag("small", unbiased))


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _level(level: str) -> str:
    """Return a level with visible white space at its ends; a separator may be white space only, or empty."""
    inner = level.strip()
    start, end = level.split(inner, 1) if inner else (level, "")
    signs = str.maketrans(prompts.SIGNS)
    return start.translate(signs) + inner + end.translate(signs) or "nothing"
