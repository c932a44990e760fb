"""The report's page as a document: what stands on it, in which order, and that nothing on it is trusted."""

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from steadyphi.report import page, reading, write_report
from steadyphi.results.experiment import AnswerTable, Experiment
from steadyphi.results.result import SCHEMA, Estimate
from steadyphi.stats.catalogue import CATALOGUE
from tests.report import example

VOID = {"br", "input", "meta"}
SECTIONS = [
    "ranking", "items", "recommended", "comparison", "atoms", "families", "components", "skills",
    "distribution", "ends", "long", "quantized", "measures",
]  # fmt: skip


class Document(HTMLParser):
    """All elements with their attributes and their own text; one that is not closed is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []
        self.inside: dict[int, int] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if self.open:
            self.inside[len(self.elements) - 1] = self.open[-1]
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.elements[self.open[-1]][2].append(data)

    def named(self, *tags: str) -> list[tuple[str, dict[str, str | None], list[str]]]:
        return [e for e in self.elements if e[0] in tags]

    def children(self, number: int) -> set[str]:
        return {self.elements[n][0] for n, parent in self.inside.items() if parent == number}


@pytest.fixture(scope="module")
def whole() -> Experiment:
    return example.experiment()


@pytest.fixture(scope="module")
def html(whole: Experiment) -> str:
    return page.render(whole)


@pytest.fixture(scope="module")
def document(html: str) -> Document:
    return Document(html)


def sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', text)


def test_all_sections_stand_in_order_and_fold(html: str) -> None:
    assert sections(html) == SECTIONS
    headings = re.findall(r'<details class="fold"><summary><h2 id="(\w+)-heading">', html)
    assert headings == SECTIONS and "<details open" not in html


def of_runs(**changes: Any) -> Callable[[Experiment], Experiment]:
    """Return a function that changes these attributes of every run."""
    return lambda whole: replace(whole, runs=[replace(run, **changes) for run in whole.runs])


def formats_only(whole: Experiment) -> Experiment:
    return replace(whole, runs=[replace(run, variants=reading.formats(run)) for run in whole.runs])


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (of_runs(recommendation=None), "recommended"),
        (of_runs(effects=[]), "atoms"),
        (of_runs(skills=[]), "skills"),
        (of_runs(search=None), "ends"),
        (of_runs(long=None), "long"),
        (of_runs(quantized=[]), "quantized"),
        (of_runs(decompositions=[]), "components"),
        (lambda whole: replace(whole, comparison=None), "comparison"),
        (lambda whole: replace(whole, answers=AnswerTable(whole.answers.variants, [])), "items"),
        (formats_only, "families"),
    ],
)
def test_what_is_missing_is_left_out(change: Callable[[Experiment], Experiment], gone: str) -> None:
    assert sections(page.render(change(example.experiment()))) == [s for s in SECTIONS if s != gone]


def test_one_run_alone() -> None:
    text = page.render(example.experiment(runs=1))
    assert sections(text) == [s for s in SECTIONS if s != "comparison"]
    assert "run1" not in text.split("</style>")[1].split("<script")[0]


def test_long_prompts_of_the_second_run_alone_keep_its_mark(whole: Experiment) -> None:
    base, tuned = whole.runs
    text = page.render(replace(whole, runs=[replace(base, long=None), tuned]))
    long = text.split('<section id="long"')[1].split("</section>")[0]
    assert "Recall of the fine-tuned model" in long and "Recall of the base model" not in long
    lanes = long.split('class="row"')[1]
    assert '<g class="run1">' in lanes and '<g class="run0">' not in lanes
    assert '<span class="run0">–</span><span class="run1">' in lanes


def test_few_variants_and_no_extras() -> None:
    whole = example.experiment(runs=1)
    run = whole.runs[0]
    few = replace(
        run,
        variants=[
            replace(row, normalized=None, open=None) for row in run.variants if row.name in ("phi2", "qa")
        ],
        recommendation=None,
        effects=[],
        skills=[],
        search=None,
        long=None,
        quantized=[],
        decompositions=[],
        alarms=[],
    )
    bare = replace(whole, runs=[few], answers=AnswerTable([], []))
    assert sections(page.render(bare)) == ["ranking", "measures"]


def test_the_policy_allows_the_own_style_and_script_alone(html: str, document: Document) -> None:
    policy = next(a["content"] for _, a, _ in document.named("meta") if "http-equiv" in a)
    assert policy and policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for name, directive in (("style", "style-src"), ("script", "script-src")):
        text = re.findall(rf"<{name}>(.*?)</{name}>", html, re.S)
        assert len(text) == 1
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    for tag, attributes, _ in document.elements:  # nothing that the policy would block, nothing to fetch
        assert "style" not in attributes and not any(key.startswith("on") for key in attributes)
        assert tag not in {"img", "iframe", "link", "object", "use"}
        assert "src" not in attributes and (attributes.get("href") or "#").startswith("#")


def test_hostile_questions_are_only_text(html: str, whole: Experiment, document: Document) -> None:
    scripts = [(a, "".join(text)) for _, a, text in document.named("script")]
    assert [a.get("type") for a, _ in scripts] == ["application/json", None]
    cells = json.loads(scripts[0][1])
    assert [item["question"] for item in cells["items"]] == [i.question for i in whole.answers.items]
    assert not set("<>&\u2028") & set(re.sub(r"\\u[0-9a-f]{4}", "", scripts[0][1]))
    hostile = example.HOSTILE[1] + "</title></style></svg>"
    run, tuned = whole.runs
    assert run.long and run.recommendation
    rules = [replace(run.long.rules[0], kind=hostile), *run.long.rules[1:]]
    variant = replace(run.variants[0], name=hostile, boundary=hostile, family=hostile)
    bad = replace(
        run,
        alarms=[hostile],
        default=hostile,
        variants=[variant, *run.variants[1:]],
        effects=[replace(run.effects[0], factor=hostile, level=hostile), *run.effects[1:]],
        skills=[replace(run.skills[0], skill=hostile), *run.skills[1:]],
        long=replace(run.long, rules=rules),
        recommendation=replace(run.recommendation, variant=hostile),
    )
    result = replace(whole, settings=whole.settings | {"model": hostile}, runs=[bad, tuned])
    attacked = page.render(result)
    assert "<img" not in attacked and len(Document(attacked).named("script")) == 2
    assert "&lt;img src=x onerror=" in attacked


def test_it_can_be_read_by_a_screen_reader(document: Document) -> None:
    assert document.named("html")[0][1]["lang"] == "en"
    assert [len(document.named(name)) for name in ("header", "main", "footer", "h1")] == [1] * 4
    levels = [int(tag[1]) for tag, _, _ in document.named("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and all(b <= a + 1 for a, b in itertools.pairwise(levels))
    ids = [a["id"] for _, a, _ in document.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["scope"] for _, a, _ in document.named("th")} == {"col", "row"}
    for _, attributes, _ in document.named("button"):
        assert attributes["type"] == "button"
    for number, (tag, attributes, _) in enumerate(document.elements):
        if tag == "svg" and attributes.get("aria-hidden") != "true":
            assert attributes["role"] == "img" and "title" in document.children(number)
        if tag == "figure":
            assert {"figcaption", "details"} <= document.children(number)
        if attributes.get("role") == "region":
            assert attributes["tabindex"] == "0" and attributes["aria-label"]


def test_a_lane_says_what_it_shows(html: str, whole: Experiment) -> None:
    base, tuned = (run.variants[0] for run in whole.runs)
    title = f"<title>phi2: base {100 * base.accuracy:.1f}%, tuned {100 * tuned.accuracy:.1f}%</title>"
    assert title in html
    bounds = [f"{100 * v.low:.1f}% to {100 * v.high:.1f}%" for v in (base, tuned)]
    assert f"<desc>intervals: base {bounds[0]}, tuned {bounds[1]}</desc>" in html


def test_the_table_of_measures(html: str) -> None:
    table = html.split('<section id="measures"')[1].split("</section>")[0]
    names = re.findall(r'<th scope="row"><span>([^<]+)<', table)
    assert names[:4] == ["Spread, unseen formats", "Worst unseen format", "Mean accuracy", "Best format"]
    assert names[-1] == "Rounding"
    assert "POSIX" in names and "1.23" in table and "0.123" in table
    assert "The share of answers that change when the same prompts are batched differently." in table


def test_from_a_number_in_the_report_to_its_function(whole: Experiment) -> None:
    """Name and meaning of each row are those of one entry of the catalogue, which has the function."""
    every = {key: Estimate(0.3, 0.2, 0.4) for key in CATALOGUE}
    base, tuned = whole.runs
    for measures in (base.measures, every):
        shown = replace(whole, runs=[replace(base, measures=measures), tuned])
        table = Document(page.render(shown).split('<section id="measures"')[1].split("</section>")[0])
        heads = [
            (number, "".join(text))
            for number, (tag, _, text) in enumerate(table.elements)
            if tag == "span" and table.elements[table.inside[number]][0] == "th"
        ]
        rows = []
        for number, name in heads:
            smalls = [n for n, parent in table.inside.items() if parent == number]
            rows.append((name, *("".join(table.elements[n][2]) for n in smalls)))
        expected = [measure for key, measure in CATALOGUE.items() if key in {*measures, *tuned.measures}]
        assert [row[:2] for row in rows] == [(m.name, m.meaning) for m in expected]
        for row, measure in zip(rows, expected, strict=True):
            facts = row[2] if len(row) > 2 else ""
            assert (f"Unit: {measure.unit}" in facts) == (measure.unit not in ("share", "points"))
            paper = re.fullmatch(r"\[(.+)\]\(https://.+\)", measure.source)
            assert facts.partition("Source: ")[2] == (paper[1] if paper else "")
            assert callable(measure.function)
    assert len(rows) == len(CATALOGUE)


def test_the_files_beside_the_page(tmp_path: Path, whole: Experiment) -> None:
    write_report(whole, tmp_path / "a")
    read_back = json.loads((tmp_path / "a" / "report.json").read_text())
    assert read_back.pop("schema") == SCHEMA
    write_report(TypeAdapter(Experiment).validate_python(read_back), tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    tables = ["effects.csv", "items.csv", "long.csv", "measures.csv", "quantized.csv"]
    assert names == [*tables, "report.html", "report.json", "variants.csv"]
    for name in names:  # the same bytes, also from what was read back
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_style_and_script_travel_with_the_package() -> None:
    import tomllib

    from tests.conftest import ROOT

    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert {"*.css", "*.js"} <= set(data["steadyphi.report"])
