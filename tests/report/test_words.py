"""The report's words: the verdict, numbers, prompts with their white space, and the tables."""

import html
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.report import effects, prompts, recommendation, verdict, wording
from steadyphi.report.glossary import MEASURES, known
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.tables import tables
from tests.report import example


def small() -> dict[str, Any]:
    """Two formats and a noisy variant; numbers to be read off the verdict."""

    def variant(name: str, family: str, accuracy: float) -> dict[str, Any]:
        return {"name": name, "family": family, "accuracy": accuracy}

    base = {
        "label": "base", "items": 200, "chance": 0.25, "noise_flip_rate": 0.007, "default": "phi2",
        "alarms": [],
        "measures": {"flip_rate": {"value": 0.44, "low": None, "high": None}},
        "variants": [variant("phi2", "format", 0.88), variant("bare", "grammar", 0.375),
                     variant("n", "noise", 0.1)],
    }  # fmt: skip
    return {"experiment": {}, "runs": [base], "comparison": None, "cells": None}


def test_the_verdict_goes_by_the_measures_where_they_know_the_ends() -> None:
    result = small()
    run = result["runs"][0]
    run["formats"] = 1
    run["measures"] |= {f"accuracy_{key}": {"value": v} for key, v in (("best", 0.9), ("worst", 0.2))}
    said = verdict.sentences(result)[0]
    assert "in 1 format (and in 2 other ways), the base model gets between 20.0% and 90.0% right" in said


def test_the_verdict_on_one_run() -> None:
    assert verdict.sentences(small()) == [
        "Asked 200 questions in 2 formats (and in 1 other way), the base model gets between 37.5% "
        "and 88.0% right, depending on the format alone (88.0% in the default format phi2); "
        "choosing blindly would get 25.0%.",
        "Two formats disagree on 44.0% of the questions, where rounding alone changes 0.7%.",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((0.12, 0.051, 0.184), "From base to tuned, X grew by 12.0 points (interval +5.1 to +18.4)."),
        ((-0.12, -0.184, -0.051), "From base to tuned, X shrank by 12.0 points (interval −18.4 to −5.1)."),
        (
            (-0.01, -0.04, 0.02),
            "Whether X changed from base to tuned cannot be told from these questions: −1.0 points, "
            "interval −4.0 to +2.0.",
        ),
        ((0.05, None, None), "From base to tuned, X grew by 5.0 points."),
    ],
)
def test_the_verdict_on_a_change(change: tuple[float, float | None, float | None], expected: str) -> None:
    result = small()
    result["runs"].append({**result["runs"][0], "label": "tuned"})
    entry = dict(zip(("change", "low", "high"), change, strict=True))
    result["comparison"] = {"measures": [{"key": "spread", **entry}]}
    found = verdict.sentences(result)
    assert found[-1] == expected.replace("X", "the spread between best and worst")
    assert found[-2].startswith("Asked the same, the fine-tuned model gets between 37.5% and 88.0%")


def test_alarms_say_whose_they_are_and_come_once() -> None:
    result = small()
    result["runs"][0]["alarms"] = ["Chance.", "Chance."]
    assert verdict.alarms(result) == ["Chance."]
    result["runs"].append({**result["runs"][0], "label": "tuned"})
    result["comparison"] = {"alarms": ["Equal."], "gate": {"passed": False, "reasons": ["Worse by 3."]}}
    assert verdict.alarms(result) == [
        "base: Chance.",
        "tuned: Chance.",
        "Equal.",
        "The gate failed: Worse by 3.",
    ]


def test_the_recommended_prompt_is_its_shape_with_a_place_for_the_question() -> None:
    found = recommendation.section(example.result())
    assert found and found.body.index("fine-tuned") < found.body.index("base model")
    pre = re.findall(r"<pre[^>]*>(.*?)</pre>", found.body, re.S)
    assert [html.unescape(re.sub("<[^>]+>", "", p)) for p in pre] == ["Instruct: {question}\nOutput:\n"] * 2
    assert "Expect +8.3 points against the default format phi2 (interval +2.1 to +14.5)" in found.body
    assert "Chosen on 30 questions and tested on others, 60 in all." in found.body
    result = example.result(runs=1)
    result["cells"], result["runs"][0]["recommendation"]["variant"] = None, "phi2"
    plain = recommendation.section(result)
    assert plain and "The default format stays" in plain.body and "{question}" not in plain.body


def test_a_prompt_that_differs_between_questions_is_shown_as_an_example() -> None:
    """Listed options stand behind the question: the commonest of them would be wrong for all others."""
    result = example.result(runs=1)
    run, cells = result["runs"][0], result["cells"]
    variant = next(v for v in run["variants"] if v["name"].startswith("options"))
    number = cells["variants"].index(variant["name"])
    for n, item in enumerate(cells["items"]):
        item["prompts"][number] = f"Q: {item['question']}\nA. {n // 8}\nAnswer:"  # eight share their options
    variant["prompt"] = cells["items"][0]["prompts"][number]
    run["recommendation"]["variant"] = variant["name"]
    found = recommendation.section(result)
    assert found and "This is how one question looks in it." in found.body and "{question}" not in found.body
    assert prompts.shape(cells, number) == ("Q: ", "\nA. 0\nAnswer:")
    assert prompts.shape(cells, number, least=8 / len(cells["items"])) is not None
    assert prompts.shape(cells, number, least=9 / len(cells["items"])) is None


def test_numbers() -> None:
    assert [wording.percent(v) for v in (0.375, 1.0, 0.0, None)] == ["37.5%", "100.0%", "0.0%", ""]
    assert [wording.points(v) for v in (0.123, -0.05, 0.0, -0.0001, None)] == [
        "+12.3",
        "−5.0",
        "0.0",
        "0.0",
        "",
    ]
    assert [wording.number(v) for v in (1234, 0.00012345, -1.5)] == ["1,234", "0.000123", "−1.5"]
    assert [wording.count(n, "way") for n in (1, 2)] == ["1 way", "2 ways"]
    entry = {"low": 0.1, "high": 0.25}
    assert (wording.share_interval(entry), wording.points_interval(entry)) == (
        "10.0% to 25.0%",
        "+10.0 to +25.0",
    )
    assert wording.share_interval({"low": None, "high": None}) == ""


def test_measures_have_texts() -> None:
    assert all(m.kind in ("share", "points", "number") and m.meaning.endswith(".") for m in MEASURES.values())
    assert known("spread").text(0.505) == "50.5 points" and known("spread").change(-0.1) == "−10.0 points"
    assert known("spread").interval({"low": 0.4, "high": 0.6}) == "40.0 to 60.0 points"
    assert (
        known("never_heard_of").name == "never heard of" and known("never_heard_of").text(0.12345) == "0.123"
    )


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
    result = example.result()
    found = tables(result)
    variants = len(result["runs"][0]["variants"])
    assert (
        len(found["variants.csv"]) == 2 * variants and len(found["items.csv"]) == 2 * variants * example.ITEMS
    )
    assert found["variants.csv"][0]["atoms"] == "end='space'; case='title'"
    assert {row["part"] for row in found["long.csv"]} == {"needle", "rules", "padding", "tracking"}
    assert (
        found["measures.csv"][0]
        == {"run": "base", "measure": "accuracy_mean"} | result["runs"][0]["measures"]["accuracy_mean"]
    )
    item = result["cells"]["items"][7]
    row = found["items.csv"][7 * 2 * variants + variants + 3]  # item 7, the second run, variant 3
    chosen = item["runs"][1]["chosen"][3]
    assert row["variant"] == result["cells"]["variants"][3] and row["chosen"] == item["choices"][chosen]
    assert row["correct"] == int(chosen == item["answer"]) and row["run"] == "tuned"
    assert all(len({tuple(r) for r in rows}) == 1 for rows in found.values())  # the same columns in every row
    assert tables(small() | {"runs": [{**small()["runs"][0], "variants": []}]})["long.csv"] == []
