"""The report's words: the verdict, numbers, prompts with their white space, and the tables."""

import html
import re
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.prompts.formats import visible
from steadyphi.prompts.held_out import trainable
from steadyphi.report import effects, first_screen, prompts, recommendation, verdict, wording
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.tables import guarded, tables
from steadyphi.results.experiment import AnswerTable, Experiment, RunComparison
from steadyphi.results.result import Estimate
from steadyphi.stats.catalogue import CATALOGUE, used_in
from steadyphi.stats.comparison import MeasureChange
from steadyphi.stats.gate import Gate
from tests.report import example


def small(**changes: Any) -> Experiment:
    """Two formats and a noisy variant; numbers to be read off the verdict. changes: of the run."""
    run = example.experiment(runs=1).runs[0]
    variants = [
        replace(run.variants[0], name=name, family=family, accuracy=accuracy)
        for name, family, accuracy in (
            ("phi2", "format", 0.88),
            ("bare", "grammar", 0.375),
            ("n", "noise", 0.1),
        )
    ]
    measures = {
        "accuracy_best": Estimate(0.88),
        "accuracy_worst": Estimate(0.375),
        "flip_rate": Estimate(0.44),
        "noise_flip_rate": Estimate(0.007),
    }
    base = replace(
        run, items=200, formats=2, variants=variants, measures=measures, alarms=[], effects=[], long=None
    )
    return Experiment({}, [replace(base, **changes)], None, AnswerTable([], []))


def compared(whole: Experiment, comparison: RunComparison) -> Experiment:
    """Return the experiment with a second run, which is like the first, and this comparison."""
    return replace(whole, runs=[whole.runs[0], replace(whole.runs[0], label="tuned")], comparison=comparison)


def test_the_verdict_on_one_run() -> None:
    assert verdict.sentence(small()) == (
        "The base model gets between 37.5% and 88.0% of the same 200 questions right, depending on the "
        "format alone: it decides about 50.5 points."
    )
    measures = {"accuracy_best": Estimate(0.9), "accuracy_worst": Estimate(0.9)}
    assert verdict.sentence(small(formats=1, measures=measures)) == (
        "The base model gets 90.0% of the same 200 questions right; one format alone says nothing of "
        "steadiness."
    )


def test_the_verdict_on_one_format_before_and_after() -> None:
    measures = {"accuracy_best": Estimate(0.9), "accuracy_worst": Estimate(0.9)}
    row = MeasureChange("spread", 0.0, 0.0, 0.0, 0.0, 0.0)
    comparison = RunComparison([row], [], [], Gate(True, []), 200, [])
    assert verdict.sentence(compared(small(formats=1, measures=measures), comparison)).endswith(
        "; one format alone says nothing of steadiness."
    )


NAMED = "in 2 prompt formats, its best and worst accuracy differ by"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((-0.12, -0.2, -0.05), f"Fine-tuning makes the model steadier: {NAMED} 28.0 points instead of 40.0."),
        (
            (-0.3, -0.4, -0.2),
            f"Fine-tuning makes the model much steadier: {NAMED} 10.0 points instead of 40.0.",
        ),
        ((0.1, 0.05, 0.2), f"Fine-tuning makes the model less steady: {NAMED} 50.0 points instead of 40.0."),
        (
            (-0.1, -0.2, 0.02),
            "These questions do not show whether fine-tuning makes the model steadier: "
            f"{NAMED} 30.0 points instead of 40.0.",
        ),
        (
            (-0.1, None, None),  # without an interval nothing is reliable
            "These questions do not show whether fine-tuning makes the model steadier: "
            f"{NAMED} 30.0 points instead of 40.0.",
        ),
    ],
)
def test_the_verdict_on_a_change(change: tuple[float, float | None, float | None], expected: str) -> None:
    row = MeasureChange("spread", 0.4, 0.4 + change[0], *change)
    comparison = RunComparison([row], [], [], Gate(True, []), 200, [])
    assert verdict.sentence(compared(small(), comparison)) == expected


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ((-0.05, -0.1, -0.01), "; its best named format loses 5.0 points."),
        ((0.05, 0.01, 0.1), "; its best named format gains 5.0 points."),
        ((0.01, -0.1, 0.1), "; its best named format did not change reliably."),
    ],
)
def test_the_verdict_prefers_tested_formats_and_names_the_price(
    change: tuple[float, float, float], end: str
) -> None:
    rows = [
        MeasureChange("spread", 0.3, 0.3, 0.0, -0.1, 0.1),
        MeasureChange("spread_unseen", 0.4, 0.1, -0.3, -0.4, -0.2),
        MeasureChange("accuracy_best", 0.8, 0.8 + change[0], *change),
    ]
    comparison = RunComparison(rows, [], [], Gate(True, []), 200, [])
    whole = compared(example.experiment(runs=1), comparison)
    sentence = verdict.sentence(whole)
    assert "phi-tiny much steadier: in 4 prompt formats that it never saw" in sentence and sentence.endswith(
        end
    )


def test_the_measures_of_the_first_screen_are_those_that_the_catalogue_names() -> None:
    shown = {key for choices in first_screen.NUMBERS for key, _ in choices}
    assert {measure.key for measure in used_in("verdict")} <= shown <= CATALOGUE.keys()


def test_formats_of_the_grammar_are_called_by_their_text() -> None:
    """The label is the template with … for the question, for every format of the grammar."""
    row = example.experiment(runs=1).runs[0].variants[0]
    for drawn in trainable({}):
        shown = prompts.label(replace(row, name=drawn.name, family="unseen", atoms=drawn.atoms))
        assert shown == visible(drawn.format.template.replace("{question}", "…")), drawn.name
    assert prompts.label(replace(row, family="noise")) == row.name == prompts.label(row)


def test_alarms_say_whose_they_are_and_come_once() -> None:
    whole = small(alarms=["Chance.", "Chance."])
    assert verdict.alarms(whole) == ["Chance."]
    failed = RunComparison([], [], ["Equal."], Gate(False, ["Worse by 3."]), 200, [])
    assert verdict.alarms(compared(whole, failed)) == [
        "base: Chance.",
        "tuned: Chance.",
        "Equal.",
        "The gate failed: Worse by 3.",
    ]


def test_the_recommended_prompt_is_its_shape_with_a_place_for_the_question() -> None:
    section = recommendation.section(example.experiment())
    assert section and section.body.index("fine-tuned") < section.body.index("base model")
    pre = re.findall(r"<pre[^>]*>(.*?)</pre>", section.body, re.S)
    assert [html.unescape(re.sub("<[^>]+>", "", p)) for p in pre] == ["Instruct: {question}\nOutput:\n"] * 2
    assert "Expect +8.3 points against the default format phi2 (interval +2.1 to +14.5)" in section.body
    assert (
        "The interval allows for the fact that only large gains are recommended, so it may contain 0."
        in section.body
    )
    assert "Chosen on 30 questions and tested on others, 60 in all." in section.body
    whole = example.experiment(runs=1)
    run = whole.runs[0]
    assert run.recommendation
    keep = replace(run, recommendation=replace(run.recommendation, variant="phi2"))
    plain = recommendation.section(replace(whole, runs=[keep], answers=AnswerTable([], [])))
    assert plain and "Keep the default format" in plain.body and "{question}" not in plain.body


def test_a_prompt_that_differs_between_questions_is_shown_as_an_example() -> None:
    """Listed options stand after the question: the commonest of them would be wrong for all others."""
    whole = example.experiment(runs=1)
    run, answers = whole.runs[0], whole.answers
    variant = next(row for row in run.variants if row.name.startswith("options"))
    number = answers.variants.index(variant.name)
    for n, item in enumerate(answers.items):
        item.prompts[number] = f"Q: {item.question}\nA. {n // 8}\nAnswer:"  # eight share their options
    shown = replace(variant, prompt=answers.items[0].prompts[number])
    assert run.recommendation
    changed = replace(
        run,
        variants=[shown if row == variant else row for row in run.variants],
        recommendation=replace(run.recommendation, variant=variant.name),
    )
    section = recommendation.section(replace(whole, runs=[changed]))
    assert (
        section and "This is the prompt of one question." in section.body and "{question}" not in section.body
    )
    assert prompts.shape(answers, number) == ("Q: ", "\nA. 0\nAnswer:")
    assert prompts.shape(answers, number, least=8 / len(answers.items)) is not None
    assert prompts.shape(answers, number, least=9 / len(answers.items)) is None


def test_numbers() -> None:
    assert [wording.percent(v) for v in (0.375, 1.0, 0.0, None)] == ["37.5%", "100.0%", "0.0%", ""]
    assert [wording.points(v) for v in (0.123, -0.05, 0.0, -0.0001, None)] == [
        "+12.3",
        "−5.0",
        "0.0",
        "0.0",
        "",
    ]
    assert [wording.unsigned_points(v) for v in (0.123, 0.0)] == ["12.3 points", "0.0 points"]
    assert [wording.number(v) for v in (1234, 0.00012345, -1.5)] == ["1,234", "0.000123", "−1.5"]
    assert [wording.count(n, "way") for n in (1, 2)] == ["1 way", "2 ways"]
    assert wording.share_interval(0.1, 0.25) == "10.0% to 25.0%"
    assert wording.points_interval(0.1, 0.25) == "+10.0 to +25.0"
    assert wording.share_interval(None, None) == wording.points_interval(None, None) == ""


def test_measures_as_text() -> None:
    accuracy, spread, posix = (CATALOGUE[key] for key in ("accuracy_mean", "spread", "posix"))
    assert [wording.text(m, 0.505) for m in (accuracy, spread, posix)] == ["50.5%", "50.5 points", "0.505"]
    assert wording.text(posix, 0.12345) == "0.123"
    changes = [wording.change_text(m, v) for m in (accuracy, spread, posix) for v in (-0.1, 0.1)]
    assert changes == ["−10.0 points", "+10.0 points"] * 2 + ["−0.1", "+0.1"]
    intervals = [wording.interval_text(m, 0.4, 0.6) for m in (accuracy, spread, posix)]
    assert intervals == ["40.0% to 60.0%", "40.0 to 60.0 points", "0.4 to 0.6"]
    intervals = [wording.change_interval_text(m, -0.1, 0.1) for m in (accuracy, spread, posix)]
    assert intervals == ["−10.0 to +10.0 points"] * 2 + ["−0.1 to +0.1"]
    assert wording.interval_text(spread, None, None) == wording.change_interval_text(spread, None, None) == ""


def test_levels_that_are_white_space_can_be_seen() -> None:
    assert [effects._level(v) for v in ("", ": ", "\n", "upper case", "\t- ")] == [
        "nothing",
        ":␣",
        "⏎",
        "upper case",
        "⇥-␣",
    ]


ANY = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("<>&\"' \n\t\r\u00a0")), max_size=40)


@settings(max_examples=100, deadline=None)
@given(text=ANY)
def test_visible_white_space_leaves_the_text_as_it_is(text: str) -> None:
    marked = prompts.visible(text)
    assert (
        html.unescape(re.sub("<[^>]+>", "", marked)) == text
        or "\x00" <= min(text) < "\x20"
        or "\x7f" <= max(text)
    )
    assert marked.count('data-sign="⏎"') == text.count("\n") and "\r" not in marked


@settings(max_examples=100, deadline=None)
@given(text=ANY)
def test_text_is_escaped_wherever_it_stands(text: str) -> None:
    made = tag("p", text, [text], title=text)
    assert made.count("<") == 2 and made.count(">") == 2 and made.count('"') == 2
    assert isinstance(join([text]), Markup) and "<" not in join([text])


@settings(max_examples=100, deadline=None)
@given(before=ANY, question=ANY, after=ANY)
def test_a_shape_gives_the_prompt_back(before: str, question: str, after: str) -> None:
    prompt = before + question + after
    shape = prompts.shape_of(prompt, question)
    assert shape is None or shape[0] + question + shape[1] == prompt
    if question and prompt.find(question) == prompt.rfind(question):
        assert shape == (before, after)


def test_a_prompt_that_holds_its_question_twice_has_no_shape() -> None:
    assert prompts.shape_of("Q: red? Again: red?", "red?") is None
    assert prompts.shape_of("Q: red?\nA:", "red?") == ("Q: ", "\nA:")
    assert prompts.shape_of("Q: RED?", "red?") is None and prompts.shape_of("aaa", "aa") is None


def test_the_tables_hold_every_value() -> None:
    whole = example.experiment()
    files = tables(whole)
    run, answers = whole.runs[0], whole.answers
    variants = len(run.variants)
    assert (
        len(files["variants.csv"]) == 2 * variants and len(files["items.csv"]) == 2 * variants * example.ITEMS
    )
    first = files["variants.csv"][0]
    assert first["atoms"] == "end='space'; case='title'"
    written = run.variants[0].open
    assert written and [first[key] for key in ("open", "open_low", "open_high")] == [
        written.accuracy,
        written.low,
        written.high,
    ]
    assert (first["open_items"], first["ranked_on_open_items"]) == (written.items, written.ranked)
    assert {row["part"] for row in files["long.csv"]} == {"needle", "rules", "padding", "tracking"}
    assert run.long
    needle, rule = run.long.needle[1], run.long.rules[0]
    rows = [row for row in files["long.csv"] if row["run"] == "base"]
    columns = ("run", "part", "kind", "length", "items", "value", "low", "high", "exact")
    for row, part, share, kind in ((rows[1], "needle", needle, 0.25), (rows[20], "rules", rule, "before")):
        values = ("base", part, kind, share.length, 20, share.share, share.low, share.high, share.exact)
        assert row == dict(zip(columns, values, strict=True))
    assert files["measures.csv"][1] == {
        "run": "base",
        "measure": "accuracy_mean",
        **asdict(run.measures["accuracy_mean"]),
    }
    item = answers.items[7]
    row = files["items.csv"][7 * 2 * variants + variants + 3]  # item 7, the second run, variant 3
    chosen = item.runs[1].chosen[3]
    assert row["variant"] == answers.variants[3] and row["chosen"] == item.choices[chosen]
    assert row["correct"] == int(chosen == item.answer) and row["run"] == "tuned"
    assert all(len({tuple(r) for r in rows}) == 1 for rows in files.values())  # the same columns in every row
    assert tables(small(variants=[]))["long.csv"] == []


@pytest.mark.parametrize("text", ["=1+1", "+49", "-2", "@A1", "\t=1", "\r=1"])
def test_a_formula_in_a_table_is_text(text: str) -> None:
    whole = example.experiment()
    item = whole.answers.items[0]
    hostile = replace(item, choices=[text, *item.choices[1:]], answer=0, id=text)
    changed = replace(whole, answers=replace(whole.answers, items=[hostile, *whole.answers.items[1:]]))
    row = tables(changed)["items.csv"][0]
    assert (row["item"], row["answer"]) == (f"'{text}", f"'{text}")
    assert guarded(-0.5) == -0.5 and guarded("plain = 1") == "plain = 1"
