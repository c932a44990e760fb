"""What single parts of a prompt cost or bring: the formats' atoms, and all that is not format."""

from collections.abc import Mapping, Sequence
from typing import Any

from steadyphi.report import lanes, prompts, reading
from steadyphi.report.figures import Section, figure, table
from steadyphi.report.glossary import known
from steadyphi.report.lanes import Lanes, Mark, Row
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.reading import Result, Run, Variant
from steadyphi.report.wording import listed, number, percent, points, points_interval

FAMILIES = {
    "grammar": "Formats drawn from the grammar",
    "instruction": "Instructions",
    "noise": "Noise in the question",
    "shots": "Examples before the question",
    "options": "Listed options and their order",
    "distractor": "An irrelevant sentence",
}
MOST = 0.995  # a variant that changes fewer of the prompts says in how many
ALPHA = 0.05  # a change whose p-value, corrected for the number of variants, is below this is called sure


def atoms(result: Result) -> Section | None:
    """Return each atom's effect on accuracy with its interval, grouped by factor, strongest factor first."""
    runs = result["runs"]
    labels = [reading.label(run) for run in runs]
    found = [{(e["factor"], e["level"]): e for e in run.get("effects") or []} for run in runs]
    keys = reading.distinct(key for effects in found for key in effects)
    if not keys:
        return None
    rows = []
    for factor in sorted({f for f, _ in keys}, key=lambda f: (-_reach(found, f), f)):
        levels = [key for key in keys if key[0] == factor]
        rows.append(Row(factor.replace("_", " "), kind="group"))
        first = next(effects for effects in found if levels[0] in effects)
        rows += [
            _effect(key[1], [effects.get(key) for effects in found], labels)
            for key in sorted(levels, key=lambda k: -first.get(k, {"points": 0.0})["points"])
        ]
    chart = Lanes(rows, lanes.differences(_bounds(rows)), [(0.0, "zero")], figures=len(runs)).draw()
    data = table(
        "Effects of the formats' atoms, in points of accuracy",
        ["factor", "level", "run", "effect", "interval", "formats"],
        [
            [e["factor"], _level(e["level"]), label, points(e["points"]), points_interval(e), e["variants"]]
            for run, label in zip(runs, labels, strict=True)
            for e in run.get("effects") or []
        ],
        words=3,
    )
    caption = "Points of accuracy against the average of the factor, with intervals; other factors held equal"
    drawn = figure(caption, lanes.legend(labels), chart, data)
    return Section("atoms", "What each part of a format costs", join([drawn, *map(_fit, runs)]))


def _fit(run: Run) -> Markup | None:
    """Return how far the effects can be trusted: how much they explain, which cannot be told apart."""
    if not run.get("effects") or run.get("explained") is None:
        return None
    text = f"For {reading.model(run)} these effects together explain {percent(run['explained'])} of the "
    text += "variance between formats."
    if run.get("aliased"):
        text += (
            f" The formats asked cannot tell the effects of {listed(run['aliased'])} from those of others."
        )
    return tag("p", text, class_="quiet")


def families(result: Result) -> Section | None:
    """Return the change against the default format of every variant that is not only another format."""
    runs = result["runs"]
    labels = [reading.label(run) for run in runs]
    names: dict[str, str] = {
        v["name"]: v["family"] for run in runs for v in run["variants"] if v.get("change") is not None
    }
    present = set(names.values()) - set(reading.FORMAT_FAMILIES)
    order = [f for f in FAMILIES if f in present] + sorted(present - set(FAMILIES))
    rows = []
    for family in order:
        rows.append(Row(FAMILIES.get(family) or family, kind="group"))
        rows += [
            _changed(name, reading.across(runs, name), labels) for name in names if names[name] == family
        ]
    if not rows:
        return None
    chart = Lanes(rows, lanes.differences(_bounds(rows)), [(0.0, "zero")], figures=len(runs)).draw()
    caption = (
        f"Points of accuracy against the default format {runs[0]['default']} on the same questions, "
        "with intervals; a star where the change is sure even among so many variants"
    )
    data = table(
        "Change against the default format",
        ["variant", "family", "run", "accuracy", "change", "interval", "p (Holm)"],
        [
            [v["name"], v["family"], label, percent(v["accuracy"]), *_change(v)]
            for run, label in zip(runs, labels, strict=True)
            for v in run["variants"]
            if v["name"] in names and v["family"] in present and v.get("change") is not None
        ],
        words=3,
    )
    drawn = figure(caption, lanes.legend(labels), chart, data)
    return Section("families", "Beyond the format", join([drawn, _options(runs, labels)]))


def _options(runs: Sequence[Run], labels: Sequence[str]) -> Markup | None:
    """Return how much the places of listed options matter, for each style of listing them."""
    rows = [
        [
            o["style"],
            label,
            *(percent(o[key]) for key in ("accuracy", "flip_rate")),
            *(_place(o, key) for key in ("position_bias", "recall_deviation")),
            o["orders"],
        ]
        for run, label in zip(runs, labels, strict=True)
        for o in run.get("options") or []
    ]
    heads = [
        "style",
        "run",
        "accuracy",
        "answers that change with the order",
        "answers drawn to a place",
        "deviation between places",
        "orders",
    ]
    note = "Unbiased: what a model that prefers no place has on average on these questions."
    drawn = table("Listed options: does their order matter?", heads, rows, words=2)
    return join([drawn, tag("p", note, class_="quiet")]) if rows else None


def _place(found: Mapping[str, Any], key: str) -> Markup:
    """Return a measure of the options' places, its interval, and what it is without a preference."""
    measure = known(key)
    ends = measure.interval({"low": found[f"{key}_low"], "high": found[f"{key}_high"]})
    chance = f"unbiased: {measure.text(found[f'{key}_unbiased'])}"
    return tag("span", measure.text(found[key]), tag("small", ends) if ends else None, tag("small", chance))


def _reach(found: Sequence[Mapping[tuple[str, str], Mapping[str, Any]]], factor: str) -> float:
    """Return how far apart a factor's levels lie, in the run where they lie furthest apart."""
    effects = [[e["points"] for key, e in run.items() if key[0] == factor] for run in found]
    return max(max(values) - min(values) for values in effects if values)


def _bounds(rows: Sequence[Row]) -> list[float]:
    return [b for row in rows for m in row.marks for b in (m.value, m.low, m.high) if b is not None]


def _effect(level: str, found: Sequence[Mapping[str, Any] | None], labels: Sequence[str]) -> Row:
    marks = tuple(Mark(n, e["points"], e["low"], e["high"]) for n, e in enumerate(found) if e)
    title, detail = lanes.in_words(labels, marks, points)
    figures = tuple(points(e["points"]) if e else "–" for e in found)
    return Row(_level(level), title, detail, marks, figures=figures)


def _changed(name: str, found: Sequence[Variant | None], labels: Sequence[str]) -> Row:
    known = [v if v and v.get("change") is not None else None for v in found]
    marks = tuple(Mark(n, v["change"], v["change_low"], v["change_high"]) for n, v in enumerate(known) if v)
    title, detail = lanes.in_words(labels, marks, points)
    figures = tuple(points(v["change"]) + _star(v) if v else "–" for v in known)
    changed = next((v["changed"] for v in known if v and "changed" in v), 1.0)
    note = (f"in {percent(changed)} of questions",) if changed < MOST else ()
    return Row(name, title, detail, marks, figures=figures, notes=note)


def _star(variant: Variant) -> str:
    p = variant.get("p_holm")
    return "*" if p is not None and p < ALPHA else ""


def _change(variant: Variant) -> list[str]:
    interval = points_interval({"low": variant["change_low"], "high": variant["change_high"]})
    return [points(variant["change"]), interval, number(variant["p_holm"])]


def _level(level: str) -> str:
    """Return a level with its outer white space made visible: a separator may be nothing else, or empty."""
    inner = level.strip()
    start, end = level.split(inner, 1) if inner else (level, "")
    signs = str.maketrans(prompts.SIGNS)
    return start.translate(signs) + inner + end.translate(signs) or "nothing"
