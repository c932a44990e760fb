"""The pages say what is true of the files beside them."""

import csv
import json
import re
from pathlib import Path

import pytest

from steadyphi.cli.main import main
from steadyphi.prompts.formats import FORMATS
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "metrics").glob("*.json")), ids=lambda p: p.stem)
def test_every_metric_is_explained(path: object) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    for key in json.loads(path.read_text()):  # type: ignore[attr-defined]
        stem = re.sub("_(base|tuned|change|q)$", "", key)
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
    table = text.split("## The result")[1].split("##")[0]
    values = re.findall(r"\| ([\d.]+%) \| ([\d.]+%) \|", table)
    keys = (
        *("spread_unseen", "accuracy_worst_unseen", "accuracy_unseen"),
        *("spread", "accuracy_worst", "accuracy_mean", "accuracy_best"),
        *("flip_rate", "right_in_all_formats", "spread_unseen_panel"),
    )
    assert values == [(f"{summary[f'{key}_base']:.1%}", f"{summary[f'{key}_tuned']:.1%}") for key in keys]


def test_the_example_of_the_readme_is_that_of_the_metrics() -> None:
    with (ROOT / "metrics" / "evaluate-base.csv").open(newline="") as file:
        accuracy = {row["format"]: float(row["accuracy"]) for row in csv.DictReader(file)}
    opening = " ".join((ROOT / "README.md").read_text().split("\n\n")[1].split())
    before, after = re.findall(r"[\d.]+%", opening)
    assert (before, after) == (f"{accuracy['phi2']:.1%}", f"{accuracy['phi2-newline']:.1%}")


FORMS = ("phi2", "phi2-space", "phi2-newline")
EXAMPLE = re.compile(r"^\| `(Instruct: .+)` \| (.+) \| (.+) \|$", re.MULTILINE)


def generated(folder: Path, prompt: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `steadyphi generate` continues a prompt with, as it stands there."""
    main(["generate", str(folder), prompt, "--style", "none", "--max-new-tokens", "6", "--json"])
    return str(json.loads(capsys.readouterr().out)["text"]).strip()


@pytest.mark.parametrize("column", [1, 2], ids=["base", "tuned"])
def test_the_three_answers_of_the_readme_are_those_of_the_model(
    column: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answers of the fine-tuned model are checked where the pipeline has run."""
    folder = ROOT / ("assets/phi-tiny" if column == 1 else "artifacts/tuned")
    if not folder.exists():
        pytest.skip("needs artifacts/tuned; run make repro")
    rows = EXAMPLE.findall((ROOT / "README.md").read_text())
    assert len(rows) == 3
    questions = set()
    for name, row in zip(FORMS, rows, strict=True):
        prompt = row[0].replace("␣", " ").replace("⏎", "\n")
        start, end = FORMATS[name].template.split("{question}")
        assert prompt.startswith(start) and prompt.endswith(end)
        questions.add(prompt.removeprefix(start).removesuffix(end))
        assert generated(folder, prompt, capsys) == row[column], name
    assert len(questions) == 1


def test_the_demo_of_generate_answers_right(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "inference.md").read_text()
    question, style, answer = re.findall(r'generate \S+ "(Find .+)" --style (\S+) +# (\S+)', page)[0]
    prompt = FORMATS[style].prompt(question)
    assert generated(ROOT / "assets/phi-tiny", prompt, capsys) == answer == "99"
