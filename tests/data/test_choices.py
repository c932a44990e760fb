"""Where a task's choices stand and which is right: every form that conf/task uses, read by hand here."""

import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.data import choices
from steadyphi.data.choices import Asker, draw_choices
from steadyphi.data.hub_rows import usable
from steadyphi.data.rows import Row
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.item import Item
from steadyphi.settings.compose import compose
from steadyphi.settings.groups import Task
from steadyphi.settings.values import validate
from tests.conftest import ROOT

OPTIONS = "It is noon.\nWhat time is it?\nOptions:\n(A) 12 o'clock\n(B) 1 o'clock\n(C) (none)"


def task(**changes: Any) -> Task:
    fields = {"name": "t", "source": "jsonl", "question": "{q}", "answer": "{a}", "choices": "c"}
    made: Task = validate(fields | {"answer_pattern": None, "n_choices": 4} | changes, Task)
    return made


def ask(task: Task, *values: dict[str, Any]) -> list[Item]:
    rows = [Row("x", n, v) for n, v in enumerate(values, 1)]
    asker = Asker(rows, task, 0)
    return [asker.item(row) for row in rows]


# (the task, a row as its data set has it, the question, the choices, the right one)
PUBLISHED = [
    (
        "commonsense-qa",
        {
            "question": "What do people aim to do at work?",
            "question_concept": "people",
            "choices": {"label": ["A", "B", "C", "D", "E"], "text": ["rest", "nap", "do jobs", "hide", "go"]},
            "answerKey": "C",
        },
        "What do people aim to do at work?",
        ("rest", "nap", "do jobs", "hide", "go"),
        2,
    ),
    (
        "arc-easy",
        {
            "question": "Why?",
            "choices": {"text": ["a", "b", "c", "d"], "label": list("1234")},
            "answerKey": "4",
        },
        "Why?",
        ("a", "b", "c", "d"),
        3,
    ),
    (
        "arc-challenge",
        {"question": "Why?", "choices": {"text": ["x", "y", "z"], "label": list("ABC")}, "answerKey": "A"},
        "Why?",
        ("x", "y", "z"),
        0,
    ),
    (
        "boolq",
        {"question": "is it so", "answer": True, "passage": "It is so."},
        "It is so.\nis it so?",
        ("no", "yes"),
        1,
    ),
    (
        "boolq",
        {"question": "is it so", "answer": False, "passage": "It is not."},
        "It is not.\nis it so?",
        ("no", "yes"),
        0,
    ),
    (
        "piqa",
        {"goal": "To boil water", "sol1": "Heat it.", "sol2": "Cool it.", "label": 0},
        "To boil water",
        ("Heat it.", "Cool it."),
        0,
    ),
    (
        "mmlu",
        {"question": "2 + 2?", "subject": "algebra", "choices": ["3", "4", "5", "2"], "answer": 1},
        "2 + 2?",
        ("3", "4", "5", "2"),
        1,
    ),
    (
        "sst2",
        {"idx": 0, "sentence": "a delight . ", "label": 1},
        "Is this review negative or positive? a delight .",
        ("negative", "positive"),
        1,
    ),
    ("bbh", {"input": OPTIONS, "target": "(C)"}, "It is noon.\nWhat time is it?", None, 2),
    ("bbh-boolean", {"input": "not False is", "target": "True"}, "not False is", ("False", "True"), 1),
    ("questions", {"question": "Who?", "choices": ["I", "you"], "answer": "you"}, "Who?", ("I", "you"), 1),
    ("questions", {"question": "Who?", "choices": ["I", "you"], "answer": "a"}, "Who?", ("I", "you"), 0),
    ("questions", {"question": "Who?", "choices": ["I", "you"], "answer": 0}, "Who?", ("I", "you"), 0),
]


@pytest.mark.parametrize(("name", "row", "question", "choices", "answer"), PUBLISHED)
def test_rows_as_published(
    name: str,
    row: dict[str, Any],
    question: str,
    choices: tuple[str, ...] | None,
    answer: int,
    tmp_path: Path,
) -> None:
    file = tmp_path / "a.json"
    file.touch()
    task_file = str(file) if name in FROM_FILES else None
    chosen = compose({"task": name, "task_file": task_file}, ROOT / "conf").prepare.task
    (item,) = ask(chosen, row)
    assert (item.question, item.answer) == (question, answer)
    assert item.choices == (choices or ("12 o'clock", "1 o'clock", "(none)"))
    assert item.skill == row.get("subject", name)


FROM_FILES = ("bbh", "bbh-boolean", "questions")


def test_listed_options_may_have_no_letters() -> None:
    listed = task(choices="{q}")
    q = "Left or right?\nOptions:\n- Left\n- Right"
    (item,) = ask(listed, {"q": q, "a": "Right"})
    assert (item.question, item.choices, item.answer) == ("Left or right?", ("Left", "Right"), 1)
    for without in ("Left or right?", "- Left\n- Right\nwhich?", "Options:\n- one"):
        with pytest.raises(SteadyPhiError, match="row 1: the text does not end in a list of choices"):
            ask(listed, {"q": without, "a": "Right"})


def test_the_reading_is_the_one_that_fits_the_file() -> None:
    # `1` is an index and, in the second row alone, a text too: two rows decide for the index.
    rows = [{"q": "x", "c": ["7", "8"], "a": "1"}, {"q": "y", "c": ["1", "0"], "a": "0"}]
    assert [item.answer for item in ask(task(), *rows)] == [1, 0]
    # Read as texts and as labels these differ, and nobody could tell which is meant.
    both = {"q": "x", "c": ["B", "A"], "a": "A"}
    with pytest.raises(
        SteadyPhiError, match=r"^x: the answers can be read as text and as label; say which in"
    ):
        ask(task(), both)
    assert ask(task(answer_is="text"), both)[0].answer == 1
    assert ask(task(answer_is="label"), both)[0].answer == 0
    # Where they agree it does not matter.
    assert ask(task(), {"q": "x", "c": ["A", "B"], "a": "B"})[0].answer == 1
    # Labels of the file's own, in whatever spelling.
    own = {"q": "x", "c": ["one", "two"], "l": ["(P)", "(Q)"], "a": "q"}
    assert ask(task(labels="l"), own)[0].answer == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.data())
def test_all_readings_point_at_the_same_choice(count: int, data: st.DataObject) -> None:
    choices = [f"choice {n}" for n in range(count)]
    right = data.draw(st.integers(0, count - 1))
    letter = "ABCDEF"[right]
    for answer in (choices[right], letter, letter.lower(), f"({letter})", f"{letter}."):
        assert ask(task(), {"q": "x", "c": choices, "a": answer})[0].answer == right
    for start in (0, 1):  # the first and the last choice show where the numbers start
        asked = [{"q": f"{n}", "c": choices, "a": n + start} for n in (0, count - 1, right)]
        assert [item.answer for item in ask(task(), *asked)] == [0, count - 1, right]


def test_numbers_that_could_start_at_0_or_1_are_refused() -> None:
    rows = [{"q": f"{n}", "c": ["a", "b", "c"], "a": n} for n in (1, 2, 1)]  # no 0, and no 3
    with pytest.raises(
        SteadyPhiError, match=r"read as index and as number; .* \(index: from 0, number: from 1"
    ):
        ask(task(), *rows)
    assert [item.answer for item in ask(task(answer_is="index"), *rows)] == [1, 2, 1]
    assert [item.answer for item in ask(task(answer_is="number"), *rows)] == [0, 1, 0]


@pytest.mark.parametrize(
    ("changes", "values", "message"),
    [
        ({}, {"c": ["b", "c"], "a": "x"}, r"the answer 'x', read as text, is not among the choices \(b, c\)"),
        ({"answer_is": "label"}, {"c": ["b", "c"], "a": "C"}, r"'C', read as label, .* \(A, B\)"),
        ({"answer_is": "index"}, {"c": ["b", "c"], "a": 2}, "'2', read as index"),
        ({"answer_is": "index"}, {"c": ["b", "c"], "a": -1}, "'-1', read as index"),
        ({}, {"c": ["a", "b", "a"], "a": "a"}, "two of the choices are alike: a, b, a"),
        ({}, {"c": ["a", " a"], "a": "a"}, "two of the choices are alike"),
        ({}, {"c": ["a"], "a": "a"}, "c should be a list of at least two"),
        ({}, {"c": {"text": ["a", "b"]}, "a": "a"}, r"c is an object; name a list in it: c\.text"),
        ({}, {"c": ["a", ""], "a": "a"}, "none empty"),
        ({"labels": "l"}, {"c": ["a", "b"], "l": list("ABC"), "a": "A"}, "2 choices have 3 labels"),
        ({"choices": ["{c}", "{d}"]}, {"c": "a", "a": "a"}, "there is no column 'd'"),
        ({"answer_pattern": "#(.+)"}, {"c": ["a", "b"], "a": "a"}, "no answer matches"),
    ],
)
def test_rows_that_cannot_be_asked(changes: dict[str, Any], values: dict[str, Any], message: str) -> None:
    with pytest.raises(SteadyPhiError, match=f"^x: row 1: .*{message}") as caught:
        ask(task(**changes), {"q": "x", **values})
    assert "\n" not in str(caught.value)


def test_of_the_hub_rows_that_cannot_be_asked_are_left_out() -> None:
    good = [{"q": f"{n}?", "c": ["a", "b"], "a": 0} for n in range(6)]
    bad: list[dict[str, Any]] = [{"q": "7?", "c": ["a", "a"], "a": 0}, {"q": " ", "c": ["a", "b"], "a": 0}]
    index = task(answer_is="index")
    rows = [Row("x", n, v) for n, v in enumerate([*good, *bad], 1)]
    assert [row.number for row in usable(rows, index)] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(SteadyPhiError, match="row 1: there is no column 'choices'"):
        usable(rows, task(answer_is="index", choices="choices"))
    drawn = task(choices=None, answer_pattern="(1)")
    assert (
        usable([Row("x", 1, {"q": "x", "a": "1"}), Row("x", 2, {"q": "x", "a": "2"})], drawn)[0].number == 1
    )


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 3000).map(str), min_size=60, max_size=80), st.integers(0, 99))
def test_drawn_choices_are_fair(answers: set[str], seed: int) -> None:
    """None the beginning of another, the answer among them, and none nearer in length was passed over."""
    others = sorted(answers)
    answer = others[seed % len(others)]
    choices = draw_choices(Row("x", 1, {}), answer, others, 4, random.Random(seed))
    assert len(set(choices)) == 4 and answer in choices and set(choices) <= answers
    assert not [a for a in choices for b in choices if a != b and b.startswith(a)]
    furthest = max(abs(len(c) - len(answer)) for c in choices)
    for other in answers - set(choices):
        clash = any(other.startswith(c) or c.startswith(other) for c in choices)
        assert clash or abs(len(other) - len(answer)) >= furthest


def test_of_very_many_answers_a_part_is_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item sorts them, and a million would take minutes; the same seed gives the same part."""
    values = [{"q": f"q{n}", "a": str(1000 + n)} for n in range(60)]
    everyone = ask(task(choices=None), *values)
    monkeypatch.setattr(choices, "MOST_ANSWERS", 10)
    asked = ask(task(choices=None), *values)
    assert asked == ask(task(choices=None), *values) != everyone
    assert all(item.choices[item.answer] == str(1000 + n) for n, item in enumerate(asked))
    wrong = {choice for item in asked for place, choice in enumerate(item.choices) if place != item.answer}
    assert 3 < len(wrong) <= 10


@pytest.mark.parametrize("pattern", [r"((?:a+)+)$", r"((?:a|aa)+)$"])
def test_a_pattern_that_takes_for_ever_is_stopped(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.setattr(choices, "LONGEST_SEARCH", 0.05)
    message = r"^x: row 1: prepare\.task\.answer_pattern .* takes more than 0\.05 s; write it without a re"
    with pytest.raises(SteadyPhiError, match=message):
        ask(task(answer_pattern=pattern, choices=["a", "b"]), {"q": "?", "a": "a" * 5000 + "!"})


LINES = [
    "(A) one",
    "(B)\ttwo ",
    "- three",
    "-",
    "(A)",
    "Options:",
    "Options: \t",
    "Options: x",
    "text",
    "",
    " ",
]
OLD_OPTION = r"^(?:\(([A-Z])\)|-)[ \t]+(\S.*)$"  # quadratic in the number of lines
OLD_LIST = re.compile(rf"(?:^Options:[ \t]*\n)?((?:{OLD_OPTION}\n?){{2,}})\s*\Z", re.MULTILINE)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from([*LINES, "text", "- \r", "(Z) \u2003x\u2003", "\x0b"]), max_size=8))
def test_a_list_at_the_end_is_as_a_pattern_sees_it(lines: list[str]) -> None:
    text = "\n".join(lines)
    rest, options = choices._split(text)
    match = OLD_LIST.search(text)
    assert bool(match) == bool(options)
    assert rest.strip() == OLD_LIST.sub("", text).strip()
    if match:
        expected = [(letter, text.strip()) for letter, text in re.findall(OLD_OPTION, match[1], re.MULTILINE)]
        assert [(option[1] or "", option[2].strip()) for option in options] == expected


@pytest.mark.parametrize("end", ["", "\nand no list"])
def test_each_line_is_read_once(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """20,000 lines: the work grows with their number, not with its square."""
    read = []

    def fullmatch(line: str) -> "re.Match[str] | None":
        read.append(len(line))
        return pattern.fullmatch(line)

    pattern = choices.OPTION
    monkeypatch.setattr(choices, "OPTION", SimpleNamespace(fullmatch=fullmatch))
    text = "\n".join(f"- choice {n}" for n in range(20_000)) + end
    assert len(choices._split(text)[1]) == (0 if end else 20_000)
    assert sum(read) <= len(text)
