"""The formats of rows: recognized from their columns, converted to dialogues, and bad rows named."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from steadyphi.data import data_file, sources
from steadyphi.data.packing import collate
from steadyphi.data.prepare import left_out, prepare
from steadyphi.data.row_files import read_rows, stream_rows
from steadyphi.data.row_formats import FORMATS, Dialogue, recognize
from steadyphi.data.row_store import Rows
from steadyphi.data.rows import Row
from steadyphi.data.tables import read_examples, read_items, read_table
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import formats
from steadyphi.settings.compose import compose
from steadyphi.settings.schema import Prepare
from steadyphi.settings.values import RowFormatName
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

Values = dict[str, Any]
Make = Callable[..., tuple[Prepare, Path]]
ASKED = ("{instruction}", "{response}")
TURNS = [("user", "Who?"), ("assistant", "Ann."), ("user", "Where?"), ("assistant", "Here.")]


def said(*turns: tuple[str, str]) -> Values:
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def shared_chat(*turns: tuple[str, str]) -> Values:
    names = {"user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names.get(role, role), "value": text} for role, text in turns]}


def converted(values: Values, *others: Values, name: str = "auto") -> tuple[str, Dialogue]:
    """Return the format that is recognized for rows, and the first of them converted."""
    rows = [Row("x.jsonl", n, v) for n, v in enumerate([values, *others], start=1)]
    format_ = recognize(Rows(rows), name, *ASKED)
    return format_.name, format_.read(rows[0])


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(rows: list[Values], task: str | None = None, **changes: Any) -> tuple[Prepare, Path]:
        file = tmp_path / "x.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        own = {"valid": 2, "items": 4, **changes}
        params = {"data": "jsonl", "data_file": str(file), "task": task, "prepare": own}
        return compose(params, ROOT / "conf").prepare, file

    return made


@pytest.mark.parametrize(
    ("values", "name", "turns"),
    [
        ({"instruction": "Add.", "input": "1 and 2", "output": "3"}, "alpaca", [("Add.\n1 and 2", "3")]),
        ({"instruction": "Add.", "input": "", "output": "3"}, "alpaca", [("Add.", "3")]),
        ({"instruction": "Add.", "input": None, "output": "3"}, "alpaca", [("Add.", "3")]),
        ({"instruction": "Add.", "input": " \n", "output": "3"}, "alpaca", [("Add.", "3")]),
        ({"instruction": "Add.", "input": 0, "output": 3.0}, "alpaca", [("Add.\n0", "3")]),
        ({"instruction": "Add.", "output": "3"}, "alpaca", [("Add.", "3")]),
        ({"instruction": "Add.", "input": "", "response": "3"}, "alpaca", [("Add.", "3")]),
        ({"instruction": "Add.", "output": "3", "text": "Add.\n3"}, "alpaca", [("Add.", "3")]),
        ({"instruction": "Add.", "response": "3"}, "instruction-response", [("Add.", "3")]),
        ({"prompt": "Add.", "completion": "3"}, "prompt-completion", [("Add.", "3")]),
        ({"question": "Add.", "answer": "3"}, "question-answer", [("Add.", "3")]),
        ({"text": "A long story."}, "text", [("", "A long story.")]),
        (said(*TURNS), "messages", [("Who?", "Ann."), ("Where?", "Here.")]),
        (shared_chat(*TURNS), "sharegpt", [("Who?", "Ann."), ("Where?", "Here.")]),
    ],
)
def test_recognized_from_the_columns_or_named(
    values: Values, name: str, turns: list[tuple[str, str]]
) -> None:
    by_hand = Dialogue("row-1", tuple(turns))
    assert converted(values) == converted(values, name=name) == (name, by_hand)


def test_columns_of_any_row_count() -> None:
    assert converted({"instruction": "Add.", "output": "3"}, {"input": "1"})[0] == "alpaca"
    empty = {"instruction": "Add.", "response": "3", "input": None}  # as a Parquet file has it
    assert converted(empty, empty)[0] == "instruction-response"


def test_the_system_text_stands_before_the_first_question() -> None:
    for make_row in (said, shared_chat):
        _, read = converted(make_row(("system", "Be brief."), *TURNS))
        assert (read.system, read.question) == ("Be brief.", "Be brief.\n\nWho?")
        assert read.prompts(formats.FORMATS["qa"]) == ["Be brief.\n\nQ: Who?\nA:", "Q: Where?\nA:"]
        _, read = converted(make_row(("system", ""), *TURNS))
        assert (read.system, read.question) == ("", "Who?")


def test_two_formats_that_fit_are_both_named() -> None:
    both = {**said(*TURNS), "prompt": "Who?", "completion": "Ann."}
    with pytest.raises(
        SteadyPhiError, match=r"^x\.jsonl: .*messages \(messages\) and prompt-completion \(pr"
    ):
        converted(both)
    assert converted(both, name="messages")[1].turns[1] == ("Where?", "Here.")
    assert converted(both, name="prompt-completion")[1].turns == (("Who?", "Ann."),)
    with pytest.raises(
        SteadyPhiError, match=r"alpaca \(instruction, output\) and alpaca \(instruction, input, "
    ):
        converted({"instruction": "a", "input": "b", "output": "c", "response": "d"})


def test_columns_of_no_format_are_refused_in_one_line_that_says_what_to_set() -> None:
    with pytest.raises(SteadyPhiError, match=r"^x.jsonl: the columns, chosen, prompt, are .*prepare\.respo"):
        converted({"prompt": "a", "chosen": "b"}, {"prompt": "c", "chosen": "d"})


def test_files_of_different_formats_in_a_folder_are_both_named(make: Make, tmp_path: Path) -> None:
    one = {"instruction": "Who?", "response": "Ann."}
    for name, row in (("a", one), ("b", one | {"n": 2}), ("c", {"question": "Who?", "answer": "Ann."})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    message = r"^{0}/a.jsonl fits instruction-resp.*, but {0}/c.jsonl fits question-answer .*data=mixture"
    with pytest.raises(SteadyPhiError, match=message.format(tmp_path)):
        recognize(Rows(stream_rows(tmp_path)), "auto", *ASKED)
    # A format for all of them can still be named.
    assert recognize(Rows(stream_rows(tmp_path)), "question-answer", *ASKED).name == "question-answer"


def test_a_file_of_questions_with_other_columns_names_the_settings_of_questions(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps({"q": "Who?", "a": "Ann."}))
    with pytest.raises(SteadyPhiError, match=r"set prepare\.task\.question and prepare\.task\.answer$"):
        data_file.read_questions(tmp_path / "x.jsonl", *ASKED)


def test_a_named_format_whose_columns_are_absent_is_refused() -> None:
    message = r"lacks the columns of sharegpt \(conversations\); the columns are answer, question"
    with pytest.raises(SteadyPhiError, match=message):
        converted({"question": "a", "answer": "b"}, name="sharegpt")


def test_templates_of_other_columns_are_used_as_they_are(make: Make) -> None:
    rows = [{"question": f"Who has {n}?", "answer": "x", "hint": f"Ann {n}"} for n in range(30)]
    settings, file = make(rows, "textbook", instruction="{question} {hint}", response="{answer}")
    material = sources.load(settings, file)
    assert all(re.fullmatch(r"Who has (\d+)\? Ann \1", d.question) for d in material.train)
    assert material.recognized == {"": f"{file}: read as columns ({{question}} {{hint}}, {{answer}})"}


def test_every_format_can_be_named() -> None:
    names = set(get_args(RowFormatName))
    assert names == {"auto", "columns", *(f.name for f in FORMATS)}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (said(("user", "Who?")), "there is no message from assistant at the end"),
        (said(*TURNS, ("user", "Why?")), "there is no message from assistant at the end"),
        (said(("system", "Be brief.")), "there is no message from assistant at the end"),
        (said(("user", "Who?"), *TURNS), "message 2 is from user, but should be from assistant"),
        (said(("system", "x"), *TURNS[1:]), "message 2 is from assistant, but should be from user"),
        (said(*TURNS, ("system", "x"), *TURNS), "message 5 is from system, but should be from user"),
        (said(("tool", "Who?"), *TURNS), "message 1: role should be system, user, assistant, not 'tool'"),
        (said(("user", " "), *TURNS[1:]), "message 1: content should hold a text"),
        (said(*TURNS[:3], ("assistant", "")), "message 4: content should hold a text"),
        (said(*TURNS[:3], ("assistant", "<|endoftext|>")), "the response is nothing but <|endoftext|>"),
        (
            {"messages": [{"from": "human", "value": "Who?"}]},
            "message 1: lacks role; it has from, value",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "message 1: content should hold a"),
        (
            {"messages": [{"content": "Who?"}]},
            "message 1: lacks role; it has content",
        ),
        ({"messages": ["Who?"]}, "message 1: should be an object with role and content"),
        ({"messages": []}, "messages should be a list of messages with role and content"),
        ({"messages": "Who?"}, "messages should be a list of messages with role and content"),
        ({"id": 7}, "there is no column 'messages'"),
    ],
)
def test_malformed_dialogues_are_bad_rows(make: Make, row: Values, problem: str) -> None:
    good = [said(("user", f"Who has {n}?"), ("assistant", f"Ann {n}")) for n in range(30)]
    settings, file = make([*good, row], "textbook")
    with pytest.raises(SteadyPhiError) as refused:
        sources.load(settings, file)
    assert str(refused.value).startswith(f"{file}: row 31: {problem}") and "\n" not in str(refused.value)
    settings, file = make([row, *good], "textbook", bad_rows="skip")
    material = sources.load(settings, file)
    assert (material.unusable, len(material.train) + len(material.valid)) == (1, 30)
    settings, file = make([row, *good, row | {"n": 1}], "textbook")
    with pytest.raises(SteadyPhiError, match=r"2 rows cannot be used: row 1: .*; row 32: "):
        sources.load(settings, file)


def test_errors_of_sharegpt_have_its_names() -> None:
    with pytest.raises(SteadyPhiError, match="message 2 is from human, but should be from gpt"):
        converted(shared_chat(TURNS[0], *TURNS))
    with pytest.raises(SteadyPhiError, match="from should be system, human, gpt, not 'user'"):
        converted({"conversations": [{"from": "user", "value": "x"}]})


def test_questions_are_those_that_are_trained_on(make: Make, phi_tiny: Path, tmp_path: Path) -> None:
    """Of dialogues, those of one turn are asked; what is asked is in no dialogue that is trained on."""
    once = [said(("system", "Be brief."), ("user", f"Say {n}."), ("assistant", f"{n}")) for n in range(60)]
    turns = [("user", "Hi"), ("assistant", "Hi"), ("user", "say {}."), ("assistant", "x")]
    twice = [said(*((role, text.format(n)) for role, text in turns)) for n in range(60)]
    settings, file = make([*once, *twice], items=20, shots=5)
    material = sources.load(settings, file)
    assert (len(material.items), len(material.shots), material.dialogues) == (20, 5, 60)
    for item in [*material.items, *material.shots]:
        assert (item.system, item.question) == ("Be brief.", f"Say {item.choices[item.answer]}.")
    asked = {item.question for item in [*material.items, *material.shots]}
    trained = [[question.capitalize() for question, _ in d.turns] for d in [*material.train, *material.valid]]
    assert not asked & {question for questions in trained for question in questions}
    assert [len(questions) for questions in sorted(trained, key=len)] == [1] * 35 + [2] * 35
    counts = prepare(settings, file, TextTokenizer(phi_tiny), tmp_path / "out")
    assert "no question was taken from 60 rows of several turns or of plain text" in left_out(counts, 512)
    settings, file = make(twice)
    with pytest.raises(SteadyPhiError, match=r"no row has one question and one answer .*; set task"):
        sources.load(settings, file)


def test_a_file_of_questions_may_have_any_format(make: Make, tmp_path: Path) -> None:
    rows = [{"instruction": "Double.", "input": str(n), "output": str(2 * n)} for n in range(40)]
    questions, dialogues = data_file.read_questions(make(rows)[1], *ASKED)
    assert questions[3].text("{instruction}") == "Double.\n3" and dialogues == 0
    both = [said(*TURNS), said(*TURNS[:2])]
    questions, dialogues = data_file.read_questions(make(both)[1], *ASKED)
    assert [q.number for q in questions] == [2] and dialogues == 1
    assert data_file.read_questions(make(rows)[1], "{input}", "{output}") == (
        read_rows(tmp_path / "x.jsonl"),
        0,
    )


def test_plain_text_is_trained_on_as_it_is(make: Make, phi_tiny: Path, tmp_path: Path) -> None:
    settings, file = make([{"text": f"The ship {n} sailed."} for n in range(30)], "textbook")
    tokenizer = TextTokenizer(phi_tiny)
    prepare(settings, file, tokenizer, tmp_path / "out")
    for row in read_table(tmp_path / "out" / "train.parquet"):
        assert re.fullmatch(r"The ship \d+ sailed\.<\|endoftext\|>", tokenizer.decode(row["tokens"]))
        assert (row["prompt"], row["style"]) == (0, "plain")


def test_what_was_recognized_is_printed_with_the_first_example(
    make: Make, phi_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [said(("user", f"Who\x1b[2J {n}?"), ("assistant", "Ann.\nSam."), *TURNS[2:]) for n in range(9)]
    settings, file = make(rows, "textbook", grammar=0, styles=["phi2"], valid=1)
    prepare(settings, file, TextTokenizer(phi_tiny), tmp_path / "out")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        re.escape(f"{file}: read as messages (messages); ") + r"row-[12] is trained on in the format phi2 as "
        r"\(▸loss◂\): Instruct: Who\ufffd\[2J [01]\?⏎Output:▸ Ann\.⏎Sam\.<\|endoftext\|>◂⏎⏎"
        r"Instruct: Where\?⏎Output:▸ Here\.<\|endoftext\|>◂",
        line,
    )


def test_dialogues_in_every_format_supervise_every_answer(make: Make, phi_tiny: Path, tmp_path: Path) -> None:
    """Read back by hand: the text is that of the turns, the loss on each answer and the end token after."""
    settings, file = make(
        [said(("system", "Be brief."), ("user", f"Who {n}?"), *TURNS[1:]) for n in range(60)],
        "textbook",
        styles=list(formats.FORMATS),
        grammar=0,
        renderings=4,
    )
    tokenizer = TextTokenizer(phi_tiny)
    prepare(settings, file, tokenizer, tmp_path)
    rows = read_table(tmp_path / "train.parquet")
    assert {row["style"] for row in rows} == set(formats.FORMATS)
    for row, example in zip(rows, read_examples(tmp_path / "train.parquet"), strict=True):
        style = formats.FORMATS[row["style"]]
        number = int(row["id"].removeprefix("row-")) - 1
        first = "Be brief.\n\n" + style.template.replace("{question}", f"Who {number}?")
        second = style.template.replace("{question}", "Where?")
        answers = [f"{style.lead}{text}" for text in ("Ann.", "Here.")]
        text = f"{first}{answers[0]}\n\n{second}{answers[1]}<|endoftext|>"
        assert tokenizer.decode(example.tokens) == text
        batch = collate([example])
        assert tokenizer.decode(batch.targets.tolist()) == "<|endoftext|>".join([*answers, ""])
        before = [tokenizer.decode(batch.tokens[: at + 1].tolist()) for at in batch.at.tolist()]
        ends = [
            b for b, target in zip(before, batch.targets.tolist(), strict=True) if target == tokenizer.eos_id
        ]
        assert ends == [first + answers[0], text.removesuffix("<|endoftext|>")]


def test_an_item_has_the_choices_of_its_row(make: Make, phi_tiny: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {n}.", "completion": str(n), "options": [str(n), "none"]} for n in range(40)]
    settings, file = make(rows)
    settings = replace(settings, task=replace(settings.task, choices="options"))
    prepare(settings, file, TextTokenizer(phi_tiny), tmp_path)
    for item in read_items(tmp_path / "items.parquet"):
        assert item.choices == (item.question[4:-1], "none")
