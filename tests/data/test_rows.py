"""Rows and their columns: files as they stand, bad ones refused, questions handed out once."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from steadyphi.data.row_files import read_rows
from steadyphi.data.rows import Questions, Row
from steadyphi.errors import SteadyPhiError


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"", "there are no rows"),
        ("x.jsonl", b"\n \n", "there are no rows"),
        ("x.jsonl", b'{"instruction": "\xff"}', "is not UTF-8 text"),
        ("x.jsonl", b'{"instruction": "a"}\n[1]\n', "row 2: should be a JSON object"),
        ("x.jsonl", b"a,b\n1,2\n", "row 1: not JSON"),
        ("x.jsonl", b"\n\n[1]", "row 3: should be a JSON object"),
        ("x.jsonl", b"null", "row 1: should be a JSON object"),
        ("x.json", b'{"a": 1}', "should be a list"),
        ("x.json", b'{"a": [{}], "b": [{}]}', "should be a list"),
        ("x.json", b'{"a": [1]}', "should be a list"),
        ("x.json", b'{"a": [{"b": 1}, 2]}', "row 2: should be a JSON object"),
        ("x.json", b"[", "not JSON"),
        ("x.parquet", b"PAR1 not", "cannot be read as a table"),
    ],
)
def test_files_that_are_not_what_they_are_called(
    tmp_path: Path, name: str, content: bytes, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SteadyPhiError, match=message) as caught:
        read_rows(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_values_arrive_as_they_stand(tmp_path: Path) -> None:
    values = {"date": "2020-01-13", "big": 2**70, "whole": 51.0, "part": 0.5, "line": "a\u2028b"}
    file = write_rows(tmp_path / "x.jsonl", [values, {**values, "whole": 1.5}])
    file.write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")
    (row,) = read_rows(file)
    assert row.text("{date} {big} {whole} {part} {line}") == f"2020-01-13 {2**70} 51 0.5 a\u2028b"
    for bad in ({"x": 1}, [1], None, " "):
        with pytest.raises(SteadyPhiError, match="should hold a text or a number"):
            Row("x", 1, {"c": bad}).text("{c}")


def test_tables_are_read_too_and_an_edit_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    for word in ("one", "two"):
        file.write_text(f'question,answer\n"say {word}, please",{word}\n')
        os.utime(file, (1e9, 1e9))
        assert [r.text("{question}|{answer}") for r in read_rows(file)] == [f"say {word}, please|{word}"]


def test_an_object_may_hold_the_list(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"canary": "c", "n": [1], "examples": [{"input": "i"}]}))
    assert [r.values for r in read_rows(tmp_path / "x.json")] == [{"input": "i"}]


# One question as CommonsenseQA's Parquet has it, and as its authors' JSON lines had it.
NESTED: list[dict[str, Any]] = [
    {"question": "Where?", "choices": {"label": ["A", "B"], "text": ["here", "there"]}},
    {
        "question": {
            "stem": "Where?",
            "choices": [{"label": "A", "text": "here"}, {"label": "B", "text": "there"}],
        }
    },
    {"a.b": "plain", "a": {"b": "nested"}},
]


def test_nested_columns() -> None:
    struct, listed, dotted = (Row("x", n, values) for n, values in enumerate(NESTED, 1))
    assert struct.texts("choices.text") == listed.texts("question.choices.text") == ["here", "there"]
    assert struct.texts("choices.label") == listed.texts("question.choices.label") == ["A", "B"]
    assert listed.text("{question.stem}") == "Where?"
    assert listed.text("{question.choices.1.text}") == "there"
    assert listed.text("{question.choices.1.text?}{question.choices.2.text?}{nothing.0?}") == "there"
    with pytest.raises(SteadyPhiError, match=r"there is no column 'question\.choices\.2\.text'"):
        listed.text("{question.choices.2.text}")
    assert dotted.text("{a.b}") == "plain"  # a column of this very name comes first


@pytest.mark.parametrize("column", ["choice.text", "choices.texts", "question.text", "choices.text.x", ""])
def test_nested_columns_that_are_not_there(column: str) -> None:
    with pytest.raises(
        SteadyPhiError, match=r"^x: row 1: there is no column '.*'; the columns are question, ch"
    ):
        Row("x", 1, NESTED[0]).value(column)


@pytest.mark.parametrize("value", [["a"], "ab", ["a", None], ["a", {}], ["a", " "], None])
def test_lists_that_are_no_choices(value: Any) -> None:
    with pytest.raises(SteadyPhiError, match=r"x: row 1: c should"):
        Row("x", 1, {"c": value}).texts("c")


@pytest.mark.parametrize("given", [{}, {"c": None}, {"c": ""}, {"c": " \n"}])
def test_an_optional_column_leaves_nothing_behind(given: dict[str, Any]) -> None:
    assert Row("x", 1, {"q": "Why?", **given}).text("{q}\n\n{c?}") == "Why?"
    assert Row("x", 1, {"q": "Why?", **given}).text("{c?} {q}") == "Why?"
    assert Row("x", 1, {"q": "Why?", "c": "So."}).text("{q}\n\n{c?}") == "Why?\n\nSo."
    assert (
        Row("x", 1, {"q": "Why?", "c?": "a column of this name"}).text("{q} {c?}")
        == "Why? a column of this name"
    )
    with pytest.raises(SteadyPhiError, match="row 1: the column 'c' should hold a text"):
        Row("x", 1, {"q": "Why?", "c": ["a"]}).text("{q} {c?}")


def test_questions_are_handed_out_once_and_by_the_seed() -> None:
    rows = [Row("x", n, {"q": f"Say {'NO  ' if n % 2 else 'no '}{n // 2}."}) for n in range(40)]
    first, again, other = (Questions(rows, "{q}", seed) for seed in (1, 1, 2))
    assert len(first) == 20
    taken = [*first.take(5), *first.take(3)]
    assert [r.number for r in taken] == [r.number for r in again.take(8)] != [r.number for r in other.take(8)]
    assert first.taken == {f"say no {r.number // 2}." for r in taken}
    first.leave_out({f"say no {n}." for n in range(10)})
    left = [{rows[place].number // 2 for place in group} for group in first.remaining()]
    assert all(len(numbers) == 1 for numbers in left)
    assert set().union(*left) == set(range(10, 20)) - {r.number // 2 for r in taken}
    assert len(other.take(100)) == 12 and not other.remaining()
