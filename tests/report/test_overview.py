"""The short page: both evaluations side by side, in Markdown."""

from pathlib import Path

from steadyphi import report

BASE = {
    "accuracy_mean": 0.5,
    "spread": 0.4,
    "items": 20,
    "formats": 2,
    "chance": 0.25,
    "noise_flip_rate": 0.01,
}
TUNED = {**BASE, "accuracy_mean": 0.75, "spread": 0.1, "spread_unseen": 0.1, "noise_flip_rate": 0.0}


def row(name: str, accuracy: float, seen: bool) -> dict[str, str]:
    low, high = accuracy - 0.1, accuracy + 0.1
    return {"format": name, "accuracy": str(accuracy), "low": str(low), "high": str(high), "seen": str(seen)}


def test_the_summary_holds_what_both_have() -> None:
    assert report.summarize(BASE, TUNED) == {
        "accuracy_mean_base": 0.5,
        "accuracy_mean_tuned": 0.75,
        "accuracy_mean_change": 0.25,
        "spread_base": 0.4,
        "spread_tuned": 0.1,
        "spread_change": -0.3,
    }


def test_the_page_in_markdown(tmp_path: Path) -> None:
    base, tuned = (
        [row("qa", 0.3, False), row("phi2", 0.7, True)],
        [row("phi2", 0.8, True), row("qa", 0.7, False)],
    )
    report.write_page({"evaluate-base": BASE, "evaluate-tuned": TUNED}, base, tuned, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    assert "20 items, each in 2 prompt formats; choosing blindly gives 25.0%." in text
    assert "| mean accuracy over formats | 50.0% | 75.0% | +25.0 points |" in text
    assert "| `qa` | no | 30.0% (20.0% to 40.0%) | 70.0% (60.0% to 80.0%) |" in text
