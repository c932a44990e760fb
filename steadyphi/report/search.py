"""The search for the best and the worst of many drawn formats: what it found, and what it saved."""

from typing import Any

from steadyphi.prompts.formats import visible
from steadyphi.report import reading
from steadyphi.report.figures import Section, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.reading import Result
from steadyphi.report.wording import percent, points


def section(result: Result) -> Section | None:
    """Return what each run's search found, None where nothing was searched."""
    parts = [_found(reading.model(run), run["search"]) for run in result["runs"] if run.get("search")]
    return Section("ends", "The best and the worst of many formats", join(parts)) if parts else None


def _found(model: str, found: dict[str, Any]) -> Markup:
    spread, expected = (
        f"{points(part['value']).lstrip('+')} points ({points(part['low']).lstrip('+')} to "
        f"{points(part['high']).lstrip('+')})"
        for part in (found["spread"], found["expected"])
    )
    difference = points(found["best"]["accuracy"] - found["worst"]["accuracy"]).lstrip("+")
    apart = f"{difference} points on these questions"
    saved = found["grid"] / found["cells"]
    text = (
        f"For {model}, {found['cells']:,} of {found['grid']:,} answers were scored, {saved:.1f} times fewer "
        f"than asking all questions in all {found['formats']} formats. The two found differ by {apart}. The "
        f"spread of all formats, by a model of the answers, is about {spread}, which may be too much; on "
        f"other questions like these, the best would beat the worst by {expected}."
    )
    rows = [
        (kind, one["name"], percent(one["accuracy"]), f"{percent(one['low'])} to {percent(one['high'])}")
        for kind, one in (("best", found["best"]), ("worst", found["worst"]))
    ]
    shown = [
        tag(
            "pre",
            visible(found[kind]["prompt"]),
            class_="marks",
            tabindex=0,
            role="group",
            aria_label=f"The {kind}",
        )
        for kind in ("best", "worst")
    ]
    heads = ("", "Format", "Accuracy", "Interval")
    return tag("article", tag("p", text), table(f"Found for {model}", heads, rows, words=2), *shown)
