"""The prompt to use, ready to be copied, with the gain to expect."""

from collections.abc import Mapping
from typing import Any

from steadyphi.report import prompts, reading
from steadyphi.report.figures import Section
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.reading import Result, Run
from steadyphi.report.wording import percent, points, points_interval

PLACE = "{question}"
COMMON = 0.9  # the share of questions that have to stand in the same text for it to be the prompt


def section(result: Result) -> Section | None:
    """Return the recommended prompt of each run that has one, the last run (what one would use) first."""
    several = len(result["runs"]) > 1
    parts = [
        _recommended(run, result.get("cells"), f"prompt-{n}", several)
        for n, run in reversed(list(enumerate(result["runs"])))
        if run.get("recommendation")
    ]
    return Section("recommended", "The prompt to use", join(parts)) if parts else None


def _recommended(run: Run, cells: Mapping[str, Any] | None, name: str, several: bool) -> Markup:
    found = run["recommendation"]
    variant = next(v for v in run["variants"] if v["name"] == found["variant"])
    shape = _shape(cells, found["variant"])
    text = shape[0] + PLACE + shape[1] if shape else variant["prompt"]
    shown = tag(
        "pre", prompts.visible(text), id=name, class_="marks", tabindex=0, role="group", aria_label="Prompt"
    )
    where = (
        " The question goes where {question} stands." if shape else " This is how one question looks in it."
    )
    return tag(
        "article",
        tag("h3", f"For {reading.model(run)}: ", tag("code", found["variant"]))
        if several
        else tag("h3", tag("code", found["variant"])),
        tag("p", _gain(run), where),
        tag(
            "div",
            shown,
            tag("button", "Copy prompt", type="button", class_="copy", data_copy=name, hidden=True),
            tag("span", class_="said", role="status"),
            class_="copyable",
        ),
        tag("p", "Where prompt and answer meet: ", tag("code", variant["boundary"]), class_="quiet")
        if variant.get("boundary")
        else None,
    )


def _gain(run: Run) -> str:
    found = run["recommendation"]
    if found["variant"] == run["default"]:
        return "The default format stays: none was found that is reliably better." + _regret(found)
    interval = points_interval(found)
    return (
        f"Expect {points(found['gain'])} points against the default format {run['default']}"
        + (f" (interval {interval})" if interval else "")
        + f". Chosen on {found['chosen_on']:,} questions and tested on others, {found['tested_on']:,} in all."
        + _regret(found)
    )


def _regret(found: Mapping[str, Any]) -> str:
    if found.get("regret") is None:
        return ""
    return f" The best of all variants may be better by up to {percent(found['regret']).rstrip('%')} points."


def _shape(cells: Mapping[str, Any] | None, name: str) -> prompts.Shape | None:
    """Return the text around the question, unless it differs between questions, as listed options do."""
    if not cells or name not in cells["variants"]:
        return None
    return prompts.shape(cells, cells["variants"].index(name), COMMON)
