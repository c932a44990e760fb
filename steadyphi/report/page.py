"""The report as one HTML file that needs no network, with JSON and CSV beside it."""

import base64
import hashlib
from pathlib import Path

from steadyphi.files import write_csv, write_json, write_text
from steadyphi.report import (
    browser,
    comparison,
    components,
    effects,
    first_screen,
    formats,
    long,
    measure_table,
    quantized,
    recommendation,
    search,
)
from steadyphi.report.figures import Section
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.tables import tables
from steadyphi.results.experiment import Experiment
from steadyphi.results.stored import to_json

# In the order in which people ask.
SECTIONS = (
    formats.ranking,
    browser.section,
    recommendation.section,
    comparison.section,
    effects.atoms,
    effects.families,
    components.section,
    formats.skills,
    formats.distribution,
    search.section,
    long.section,
    quantized.section,
    measure_table.section,
)
STYLES, SCRIPTS = ("style.css", "charts.css", "browser.css"), ("script.js", "browser.js")


def write_report(experiment: Experiment, folder: Path) -> None:
    """Write `report.html`, `report.json` and a CSV file for each of its tables into `folder`.

    Parts that the runs do not have, such as long prompts, are left out, and a CSV file without rows is not
    written. The same experiment gives the same bytes.
    """
    write_text(folder / "report.html", render(experiment))
    write_json(folder / "report.json", to_json(experiment))
    for name, rows in tables(experiment).items():
        if rows:
            write_csv(folder / name, rows)


def render(experiment: Experiment) -> str:
    """Return the page. Its content security policy allows its own script and style and no other resource."""
    style, script = (join(map(_beside, names)) for names in (STYLES, SCRIPTS))
    sections = [section for build in SECTIONS if (section := build(experiment))]
    title = f"Prompt sensitivity of {experiment.settings['model']}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    )
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#results", class_="skip"),
        first_screen.header(experiment, title),
        tag("main", *map(_section, sections), id="results", tabindex=-1),
        tag(
            "footer",
            tag("p", "Made by SteadyPhi. The numbers are in report.json and the CSV files beside this page."),
        ),
        tag("script", script),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _section(section: Section) -> Markup:
    """Return a section that folds; on paper and for a link to it, it is open."""
    heading = f"{section.anchor}-heading"
    return tag(
        "section",
        tag("details", tag("summary", tag("h2", section.heading, id=heading)), section.body, class_="fold"),
        id=section.anchor,
        aria_labelledby=heading,
    )


def _policy(style: str, script: str) -> str:
    allowed = f"style-src {_hash(style)}; script-src {_hash(script)}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _beside(name: str) -> Markup:
    return Markup((Path(__file__).parent / name).read_text(encoding="utf-8"))
