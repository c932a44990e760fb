"""The pages say what is true of the files beside them."""

import csv
import json
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "metrics").glob("*.json")), ids=lambda p: p.stem)
def test_every_metric_is_explained(path: object) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    for key in json.loads(path.read_text()):  # type: ignore[attr-defined]
        stem = re.sub("_(base|tuned|change)$", "", key)
        assert f"`{stem}`" in page, key


PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "assets/*/README.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall("^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        path = (ROOT / page).parent.joinpath(target) if target else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def test_the_figures_of_the_readme_are_those_of_the_metrics() -> None:
    summary = json.loads((ROOT / "metrics" / "summary.json").read_text())
    text = (ROOT / "README.md").read_text()
    for key in ("spread", "accuracy_mean", "accuracy_worst", "flip_rate"):
        row = rf"\| {summary[f'{key}_base']:.1%} \| {summary[f'{key}_tuned']:.1%} \|"
        assert re.search(row, text), key


def test_the_example_of_the_readme_is_that_of_the_metrics() -> None:
    with (ROOT / "metrics" / "evaluate-base.csv").open(newline="") as file:
        accuracy = {row["format"]: float(row["accuracy"]) for row in csv.DictReader(file)}
    opening = " ".join((ROOT / "README.md").read_text().split("\n\n")[1].split())
    before, after = re.findall(r"[\d.]+%", opening)
    assert (before, after) == (f"{accuracy['phi2']:.1%}", f"{accuracy['phi2-newline']:.1%}")
