"""The first screen: one sentence, three numbers, a picture of three sets of formats, a prompt."""

import html
import re
from dataclasses import replace

import pytest

from steadyphi.report import first_screen, reading
from steadyphi.results.experiment import Experiment
from tests.report import example


@pytest.fixture(scope="module")
def whole() -> Experiment:
    return example.experiment()


@pytest.fixture(scope="module")
def header(whole: Experiment) -> str:
    return first_screen.header(whole, "Title")


def plain(markup: str) -> str:
    return html.unescape(re.sub("<[^>]+>", "", markup))


def test_the_three_sets_have_their_formats(whole: Experiment) -> None:
    sets = {s.title: [row.name for row in s.rows[0]] for s in reading.format_sets(whole.runs)}
    rows = whole.runs[0].variants
    assert list(sets) == ["Trained on", "Chosen on", "Tested on"]
    assert set(sets["Trained on"]) == {"phi2", "qa"}  # those that the example has as seen
    assert set(sets["Tested on"]) == {row.name for row in rows if row.family == "unseen"}
    named = {row.name for row in rows if row.family == "format"}
    assert set(sets["Trained on"]) | set(sets["Chosen on"]) == named
    for of_set in reading.format_sets(whole.runs):
        before, after = of_set.rows
        assert [row.name for row in before] == [row.name for row in after]
        assert [row.accuracy for row in before] == sorted((r.accuracy for r in before), reverse=True)


def test_a_single_run_is_not_called_trained() -> None:
    titles = [s.title for s in reading.format_sets(example.experiment(runs=1).runs)]
    assert titles == ["Named formats", "Held-out formats"]


def test_a_format_of_one_run_alone_is_not_drawn(whole: Experiment) -> None:
    base, tuned = whole.runs
    fewer = replace(tuned, variants=[row for row in tuned.variants if row.name != "alpaca"])
    shown = {row.name for s in reading.format_sets([base, fewer]) for row in s.rows[0]}
    assert "alpaca" not in shown and len(shown) == base.formats + len(example.UNSEEN) - 1


def test_the_three_numbers_with_their_intervals(header: str, whole: Experiment) -> None:
    numbers = header.split('class="numbers"')[1]
    cells = [
        [plain(part) for part in re.findall(r"<d[td].*?>(.*?)</d[td]>", cell)]
        for cell in numbers.split("<dl>")[1].split("</dl>")[0].split("</div>")[:-1]
    ]
    assert [cell[0] for cell in cells] == [
        "Spread over tested formats",
        "Worst tested format",
        "Best named format",
    ]
    assert whole.comparison
    change = {row.key: row for row in whole.comparison.measures}["spread_unseen"]
    assert cells[0][1] == f"{100 * change.before:.1f} → {100 * change.after:.1f} points"
    low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in (change.low or 0, change.high or 0))
    assert cells[0][2].endswith(f" points ({low} to {high})")
    before, after = (run.measures["accuracy_worst_unseen"].value for run in whole.runs)
    assert cells[1][1] == f"{100 * before:.1f}% → {100 * after:.1f}%"


def test_without_tested_formats_the_numbers_are_of_the_named_ones(whole: Experiment) -> None:
    runs = [
        replace(run, measures={k: v for k, v in run.measures.items() if "unseen" not in k})
        for run in whole.runs
    ]
    text = first_screen.numbers(replace(whole, runs=runs))
    assert "Spread over named formats" in text and "tested" not in text


def test_one_run_has_numbers_with_their_own_intervals() -> None:
    whole = example.experiment(runs=1)
    value = whole.runs[0].measures["accuracy_worst_unseen"]
    text = plain(first_screen.numbers(whole))
    assert f"Worst tested format{100 * value.value:.1f}%" in text and "→" not in text
    assert f"{100 * (value.low or 0):.1f}% to {100 * (value.high or 0):.1f}%".replace("-", "−") in text


def test_every_format_has_a_column_at_the_height_of_its_accuracy(header: str, whole: Experiment) -> None:
    columns = re.findall(r'<svg x="[\d.]+%" class="slot" aria-hidden="true">(.*?)</svg>', header)
    assert len(columns) == whole.runs[0].formats + len(example.UNSEEN)
    heights = {}
    for column in columns:
        name, before, after = re.fullmatch(r"<title>(.*): base (.*)%, tuned (.*)%</title>.*", column).groups()  # type: ignore[union-attr]
        circle, square = (
            float(re.findall(f'<{mark}.*? c?y="(.*?)%"', column)[0]) for mark in ("circle", "rect")
        )
        heights |= {float(before): circle, float(after): square}
        assert (
            "instruct-" not in name and "-dash-" not in name
        )  # the texts of formats, not their machine names
    low, high = min(heights), max(heights)
    for accuracy, height in heights.items():  # linear, and more is higher up
        share = (accuracy - low) / (high - low)
        assert height == pytest.approx(heights[low] + share * (heights[high] - heights[low]), abs=0.15)
    assert heights[high] < heights[low]


def test_warnings_are_counted_and_the_gate_is_named(whole: Experiment) -> None:
    assert "Before you rely on this: 2 notes" in first_screen.header(whole, "Title")  # an alarm and a note
    assert whole.comparison
    gate = replace(whole.comparison.gate, passed=False, reasons=["it got worse"])
    failed = replace(whole, comparison=replace(whole.comparison, gate=gate))
    text = first_screen.header(failed, "Title")
    assert "3 notes (the gate failed)" in text and "The gate failed: it got worse" in text
    quiet = [replace(run, alarms=[], notes=[]) for run in whole.runs]
    assert "Before you rely" not in first_screen.header(replace(whole, runs=quiet), "Title")
