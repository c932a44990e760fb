"""Instruction data as people really have it (../shared/cases/data): right, or refused in one clear line."""

import csv
import json
from pathlib import Path

import pytest

from steadyphi.data.packing import collate
from steadyphi.data.prepare import left_out, prepare
from steadyphi.data.row_files import read_rows
from steadyphi.data.tables import read_examples, read_items, read_table
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.compose import compose
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    folder = shared / "cases" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which this clone does not have")
    return folder


def prepared(file: Path, into: Path, tokenizer: Path, **changes: object) -> dict[str, float]:
    """Prepare a file with `data=jsonl`; return the counts."""
    task = changes.pop("questions", None)
    section = {"valid": 2, "items": 4, **changes}
    params = {"data": "jsonl", "data_file": str(file), "task": task, "prepare": section}
    settings = compose(params, ROOT / "conf").prepare
    return prepare(settings, file, TextTokenizer(tokenizer), into)


@pytest.mark.parametrize("name", ["zeros.csv", "prices.csv", "ids.csv", "codes.csv", "late-text.csv"])
def test_every_cell_comes_through_in_training_and_in_questions(
    data: Path, phi_tiny: Path, tmp_path: Path, name: str
) -> None:
    with (data / name).open(newline="") as file:
        rows = [(row["instruction"], row["response"]) for row in csv.DictReader(file)]
    usable = [row for row in read_rows(data / name) if row.values["response"]]
    read = [(row.text("{instruction}"), row.text("{response}")) for row in usable]
    rows = [(question, answer) for question, answer in rows if answer]
    assert read == list(dict.fromkeys(rows))
    if name == "late-text.csv":
        return  # 12,000 rows: reading them is the case
    counts = prepared(data / name, tmp_path, phi_tiny, grammar=0, styles=["phi2"], bad_rows="skip")
    assert counts["unusable_rows"] == (name == "ids.csv")  # its last answer is blank
    answers = dict(rows)
    items = read_items(tmp_path / "items.parquet")
    assert items and all(item.choices[item.answer] == answers[item.question] for item in items)
    tokenizer = TextTokenizer(phi_tiny)
    for row in read_table(tmp_path / "train.parquet")[:20]:
        question = tokenizer.decode(row["tokens"][: row["prompt"]])[len("Instruct: ") : -len("\nOutput:")]
        assert tokenizer.decode(row["tokens"][row["prompt"] : -1]) == f" {answers[question]}"


@pytest.mark.parametrize("name", ["blank.csv", "alpaca.jsonl", "alpaca-absent.json"])
def test_an_empty_input_leaves_no_empty_line(
    data: Path, phi_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text = (data / name).read_text()
    if name.endswith(".csv"):
        raw = list(csv.DictReader(text.splitlines()))
    else:
        raw = json.loads(text) if name.endswith(".json") else list(map(json.loads, text.splitlines()))
    asked = {
        f"{row['instruction']}\n{row['input']}" if row.get("input") else row["instruction"]: row.get(
            "output", row.get("response")
        )
        for row in raw
    }
    assert {"\n" in question for question in asked} == {True, False}
    prepared(data / name, tmp_path, phi_tiny, grammar=0)
    assert f"{data / name}: read as alpaca (" in capsys.readouterr().err
    tokenizer, seen = TextTokenizer(phi_tiny), set()
    for part in ("train", "valid"):
        for row in read_table(tmp_path / f"{part}.parquet"):
            prompt = tokenizer.decode(row["tokens"][: row["prompt"]])
            question = prompt.removeprefix("Instruct: ").removesuffix("\nOutput:")
            answer = f" {asked[question]}<|endoftext|>"
            assert tokenizer.decode(row["tokens"][row["prompt"] :]) == answer
            seen.add(question)
    for kind in ("items", "shots"):
        for item in read_items(tmp_path / f"{kind}.parquet"):
            assert item.choices[item.answer] == asked[item.question]
            seen.add(item.question)
    assert seen == set(asked)


@pytest.mark.parametrize("name", ["messages.jsonl", "sharegpt.jsonl"])
def test_every_answer_of_a_dialogue_is_supervised_with_its_end_token(
    data: Path, phi_tiny: Path, tmp_path: Path, name: str
) -> None:
    raw = [json.loads(line) for line in (data / name).read_text().splitlines()]
    task = {} if name == "messages.jsonl" else {"questions": "textbook"}  # of several turns none is asked
    counts = prepared(data / name, tmp_path, phi_tiny, **task)
    tokenizer = TextTokenizer(phi_tiny)
    examples, ids = read_examples(tmp_path / "train.parquet"), read_table(tmp_path / "train.parquet")
    assert counts["train_examples"] > 100 and counts["skipped_examples"] == 0
    for example, row in zip(examples, ids, strict=True):
        messages = next(iter(v for v in raw[int(row["id"][4:]) - 1].values() if isinstance(v, list)))
        answers = [m.get("content", m.get("value")) for m in messages[1::2]]
        batch = collate([example])
        *supervised, after = tokenizer.decode(batch.targets.tolist()).split("<|endoftext|>")
        assert ([text.strip() for text in supervised], after) == (answers, "")
        assert (batch.targets == tokenizer.eos_id).sum() == len(answers)
        assert example.supervised == len(batch.at) < len(example.tokens) / 2


def test_end_strings_are_taken_off_and_counted(data: Path, phi_tiny: Path, tmp_path: Path) -> None:
    counts = prepared(data / "eos-appended.jsonl", tmp_path, phi_tiny)
    assert counts["stripped_responses"] == counts["train_examples"] + counts["valid_examples"] > 0
    tokenizer = TextTokenizer(phi_tiny)
    for row in read_table(tmp_path / "train.parquet"):
        assert "endoftext" not in tokenizer.decode(row["tokens"][:-1]) and row["tokens"][-1] == 0
    for item in read_items(tmp_path / "items.parquet"):
        assert not any("endoftext" in choice for choice in item.choices)
    assert any("end token; taken off" in line for line in left_out(counts, 512))


@pytest.mark.parametrize(("name", "count"), [("three-empty.jsonl", 3), ("one-absent.jsonl", 1)])
def test_all_bad_rows_are_named_at_once(
    data: Path, phi_tiny: Path, tmp_path: Path, name: str, count: int
) -> None:
    rows = [json.loads(line) for line in (data / name).read_text().splitlines()]
    bad = [n for n, row in enumerate(rows, 1) if not all(row.get(k) for k in ("instruction", "response"))]
    assert len(bad) == count
    with pytest.raises(SteadyPhiError) as refused:
        prepared(data / name, tmp_path, phi_tiny)
    text = str(refused.value)
    assert all(f"row {n}: " in text for n in bad) and "\n" not in text
    assert (f"{count} rows cannot be used" in text) == (count > 1)


def test_too_long_rows_are_said(data: Path, phi_tiny: Path, tmp_path: Path) -> None:
    counts = prepared(data / "long-answers.jsonl", tmp_path, phi_tiny)
    assert counts["skipped_examples"] > 0
    (line, *_) = left_out(counts, 512)
    assert line.startswith(
        f"left out: {counts['skipped_examples']:.0f} examples are longer than prepare.context"
    )


def test_too_long_rows_are_cut_or_refused_if_the_setting_says_so(
    data: Path, phi_tiny: Path, tmp_path: Path
) -> None:
    dropped = prepared(data / "long-answers.jsonl", tmp_path / "a", phi_tiny)
    counts = prepared(data / "long-answers.jsonl", tmp_path / "b", phi_tiny, too_long="truncate")
    assert (counts["skipped_examples"], dropped["truncated_examples"]) == (0, 0)
    assert counts["truncated_examples"] == dropped["skipped_examples"] > 0
    assert counts["longest_example"] == 512
    line = f"truncated: {counts['truncated_examples']:.0f} examples are longer than prepare.context of 512"
    assert any(text.startswith(line) for text in left_out(counts, 512))
    ends = [row["tokens"][-1] == 0 for row in read_table(tmp_path / "b" / "train.parquet")]
    assert ends.count(True) == len(read_table(tmp_path / "a" / "train.parquet")) < len(ends)
    with pytest.raises(SteadyPhiError, match=r"row-\d+ \(\d+ tokens\).*set prepare.too_long") as refused:
        prepared(data / "long-answers.jsonl", tmp_path / "c", phi_tiny, too_long="error")
    assert "\n" not in str(refused.value) and not list((tmp_path / "c").glob("*"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("latin1.csv", "save it as UTF-8"),
        ("lines-called.json", "for one object per line, call the file .jsonl"),
    ],
)
def test_refused_with_what_to_do(data: Path, phi_tiny: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(SteadyPhiError, match=message):
        prepared(data / name, tmp_path, phi_tiny)


def test_a_compressed_file_is_read(data: Path, phi_tiny: Path, tmp_path: Path) -> None:
    assert prepared(data / "mine.jsonl.gz", tmp_path, phi_tiny)["train_examples"] > 0


def test_bad_rows_are_skipped_and_counted_if_the_setting_says_so(
    data: Path, phi_tiny: Path, tmp_path: Path
) -> None:
    counts = prepared(data / "three-empty.jsonl", tmp_path, phi_tiny, bad_rows="skip")
    assert counts["unusable_rows"] == 3
    assert "left out: 3 rows without an instruction or an answer that can be used" in left_out(counts, 512)
