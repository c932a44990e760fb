"""The pages say what is true of the files beside them."""

import json
import re

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "metrics").glob("*.json")), ids=lambda p: p.stem)
def test_every_metric_is_explained(path: object) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    for key in json.loads(path.read_text()):  # type: ignore[attr-defined]
        stem = re.sub("_(base|tuned|change)$", "", key)
        assert f"`{stem}`" in page, key


PAGES = ["README.md", "docs/architecture.md", "docs/gpus.md", "assets/phi-tiny/README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_figures_of_the_readme_are_those_of_the_metrics() -> None:
    summary = json.loads((ROOT / "metrics" / "summary.json").read_text())
    text = (ROOT / "README.md").read_text()
    for key in ("spread", "accuracy_mean", "accuracy_worst", "flip_rate"):
        row = rf"\| {summary[f'{key}_base']:.1%} \| {summary[f'{key}_tuned']:.1%} \|"
        assert re.search(row, text), key
