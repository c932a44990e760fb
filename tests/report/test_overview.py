"""The short page: both evaluations side by side, in Markdown; and the plot."""

from dataclasses import replace
from pathlib import Path

from steadyphi import report
from steadyphi.results import headline
from steadyphi.results.result import Estimate, Result
from tests.report import example

BASE = {
    "accuracy_mean": 0.5,
    "spread": 0.4,
    "items": 20,
    "formats": 2,
    "chance": 0.25,
    "noise_flip_rate": 0.01,
}
TUNED = {**BASE, "accuracy_mean": 0.75, "spread": 0.1, "spread_unseen": 0.1, "noise_flip_rate": 0.0}


def result(values: dict[str, float], accuracies: dict[str, tuple[float, bool]]) -> Result:
    """Return a result with these numbers and formats, and a variant that is not a format."""
    whole = example.experiment().runs[0]
    rows = [
        replace(whole.variants[0], name=name, accuracy=share, low=share - 0.1, high=share + 0.1, seen=seen)
        for name, (share, seen) in accuracies.items()
    ]
    counts = ("items", "formats", "chance")
    return replace(
        whole,
        items=int(values["items"]),
        formats=int(values["formats"]),
        chance=values["chance"],
        measures={key: Estimate(value) for key, value in values.items() if key not in counts},
        variants=[*rows, replace(rows[0], name="noise", family="noise")],
    )


def test_the_summary_holds_what_both_have() -> None:
    assert headline.summarize(BASE, TUNED) == {
        "accuracy_mean_base": 0.5,
        "accuracy_mean_tuned": 0.75,
        "accuracy_mean_change": 0.25,
        "spread_base": 0.4,
        "spread_tuned": 0.1,
        "spread_change": -0.3,
    }


def test_the_page_in_markdown(tmp_path: Path) -> None:
    base = result(BASE, {"qa": (0.3, False), "phi2": (0.7, True)})
    tuned = result(TUNED, {"phi2": (0.8, True), "qa": (0.7, False)})
    report.write_page(base, tuned, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    assert "20 items, each in 2 prompt formats; choosing blindly gives 25.0%." in text
    assert "changes 1.0% of the answers (tuned: 0.0%)." in text
    assert "| mean accuracy over formats | 50.0% | 75.0% | +25.0 points |" in text
    trained, chosen = (text.index(f"{title}: ") for title in ("Trained on", "Chosen on"))
    phi2, qa = (text.index(f"| `{name}` |") for name in ("phi2", "qa"))
    assert trained < phi2 < chosen < qa and "noise" not in text and "Tested on" not in text
    assert "| `qa` | 30.0% (20.0% to 40.0%) | 70.0% (60.0% to 80.0%) |" in text


def test_formats_of_the_grammar_in_markdown(tmp_path: Path) -> None:
    base, tuned = example.experiment().runs
    report.write_page(base, tuned, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    assert r"| `input␣-␣…␣\|\|␣output␣-␣` |" in text and "dash-pipes" not in text


def test_the_plot(tmp_path: Path) -> None:
    base, tuned = example.experiment().runs
    reordered = replace(tuned, variants=tuned.variants[::-1])
    for n, after in enumerate((tuned, reordered)):  # rows are matched by name
        report.draw(base, after, tmp_path / f"{n}.png")
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
    assert (tmp_path / "0.png").read_bytes().startswith(b"\x89PNG")
