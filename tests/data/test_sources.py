"""Data files: real ones prepared whole, bad ones refused with file, row and column."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steadyphi.data import sources
from steadyphi.data.prepare import prepare
from steadyphi.data.tables import read_examples, read_items, read_table
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import held_out
from steadyphi.settings.compose import compose
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

Make = Callable[..., Prepare]
TEXTBOOK = "steadyphi/data/textbook.py"


@pytest.fixture
def make() -> Make:
    def made(data: str, file: Path | str, **prepare: Any) -> Prepare:
        task_file = prepare.pop("task_file", None)
        params = {"data": data, "data_file": str(file), "task_file": task_file, "prepare": prepare}
        return compose(params, ROOT / "conf").prepare

    return made


@pytest.fixture
def make_task() -> Make:
    """The textbook to learn from, questions from elsewhere."""

    def made(task: str, **prepare: Any) -> Prepare:
        task_file = prepare.pop("task_file")
        return compose({"task": task, "task_file": task_file, "prepare": prepare}, ROOT / "conf").prepare

    return made


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_a_few_formats_of_the_grammar(make: Make, lit_tiny: Path, tmp_path: Path) -> None:
    file = "steadyphi/data/textbook.py"
    settings = make("textbook", file, examples=300, items=9, grammar_formats=4)
    prepare(settings, Path(file), TextTokenizer(lit_tiny), tmp_path)
    styles = {row["style"] for row in read_table(tmp_path / "train.parquet")}
    pool = held_out.trainable(settings.held_out.untrained, 4, settings.seed)
    assert styles == {*settings.styles, *(f.name for f in pool)}


def test_a_style_that_is_named_twice_is_drawn_twice_as_often(
    make: Make, lit_tiny: Path, tmp_path: Path
) -> None:
    file = "steadyphi/data/textbook.py"
    settings = make("textbook", file, examples=300, items=9, styles=["qa", "bare", "qa"], grammar=0.1)
    prepare(settings, Path(file), TextTokenizer(lit_tiny), tmp_path)
    styles = Counter(row["style"] for row in read_table(tmp_path / "train.parquet"))
    assert styles["qa"] / styles["bare"] == pytest.approx(2, rel=0.2)


def test_textbook(make: Make, lit_tiny: Path, tmp_path: Path) -> None:
    settings = make("textbook", "steadyphi/data/textbook.py", examples=300, items=90)
    tokenizer = TextTokenizer(lit_tiny)
    counted = prepare(settings, Path(settings.data_file), tokenizer, tmp_path)
    train = read_examples(tmp_path / "train.parquet")
    assert counted["train_examples"] == len(train) / settings.renderings == 300
    assert counted["items"] == 90 and counted["skipped_examples"] == counted["skipped_items"] == 0
    rows = read_table(tmp_path / "train.parquet")
    allowed = {f.name for f in held_out.trainable(settings.held_out.untrained)}
    styles = Counter(row["style"] for row in rows)
    assert set(styles) - allowed == set(settings.styles) and len(styles) == counted["train_formats"] > 300
    assert sum(styles[n] for n in set(settings.styles)) / len(rows) == pytest.approx(
        1 - settings.grammar, abs=0.05
    )
    for n in range(settings.renderings):  # each example once per rendering, in another format
        assert sorted(row["id"] for row in rows if row["rendering"] == n) == sorted({r["id"] for r in rows})
    assert len({(row["id"], row["style"]) for row in rows}) > 0.9 * len(rows)
    for row in rows:
        assert row["tokens"][-1] == tokenizer.eos_id and 0 < row["prompt"] < len(row["tokens"]) - 1
    valid = read_table(tmp_path / "valid.parquet")
    assert len({row["style"] for row in valid}) == counted["valid_formats"] == 8
    assert len(valid) == 8 * settings.valid and not {row["style"] for row in valid} & (allowed | {"phi2"})
    items = read_items(tmp_path / "items.parquet")
    asked = " ".join(tokenizer.decode(e.tokens) for e in train)
    assert not [i for i in items if i.question in asked]


def test_prepared_bytes_depend_on_the_seed_alone(make: Make, lit_tiny: Path, tmp_path: Path) -> None:
    tokenizer = TextTokenizer(lit_tiny)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        settings = make("textbook", "steadyphi/data/textbook.py", examples=50, items=9, seed=seed)
        prepare(settings, Path("x"), tokenizer, tmp_path / name)
    for file in ("train.parquet", "valid.parquet", "items.parquet", "shots.parquet"):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b != c


@pytest.mark.parametrize(("data", "file"), [("gsm8k", "gsm8k/train.jsonl"), ("svamp", "svamp/SVAMP.json")])
def test_real_data(make: Make, shared: Path, lit_tiny: Path, tmp_path: Path, data: str, file: str) -> None:
    path = shared / "data" / file
    settings = make(data, path, examples=400)
    tokenizer = TextTokenizer(lit_tiny)
    counted = prepare(settings, path, tokenizer, tmp_path)
    left_out = counted["skipped_examples"] + counted["contaminated_rows"]
    assert counted["train_examples"] + counted["valid_examples"] + left_out == 400 + 64
    assert counted["longest_example"] <= 512
    items = read_items(tmp_path / "items.parquet")
    assert len(items) + counted["skipped_items"] == 200
    number = r"-?[\d,.]+"
    for item in items:
        assert len(set(item.choices)) == 4
        assert not [a for a in item.choices for b in item.choices if a != b and b.startswith(a)]
        assert re.fullmatch(number, item.choices[item.answer])
    lengths = [[len(choice) for choice in item.choices] for item in items]
    assert sum(max(n) - min(n) for n in lengths) / len(items) < 0.5  # length does not tell the answer
    # Apart: no evaluation question stands in what is trained on.
    tables = [read_table(tmp_path / f"{n}.parquet") for n in ("train", "valid")]
    trained = "\n".join(tokenizer.decode(row["tokens"]) for table in tables for row in table)
    assert not [item for item in items if item.question in trained]
    # Right: the answer is the one in the file, read here by hand.
    lines = json.loads(path.read_text()) if path.suffix == ".json" else None
    raw = lines or [json.loads(line) for line in path.read_text().splitlines()]
    for item in items[:50]:
        row = raw[int(item.id.removeprefix("row-")) - 1]
        answer = row["answer"].split("#### ")[1] if data == "gsm8k" else str(int(row["Answer"]))
        assert item.choices[item.answer] == answer
        assert item.question.endswith((row.get("question") or row["Question"]).strip())


GOOD = [{"instruction": f"Say {n}.", "response": str(n)} for n in range(400)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[7].pop("response"), r"row 8: there is no column 'response'"),
        (lambda r: r[7].update(response=" "), r"row 8: the column 'response' should hold a text"),
        (
            lambda r: [x.pop("response") for x in r],
            r"the columns, instruction, are those of no known format; for other columns, set prepare.instr",
        ),
        (lambda r: [x.update(response="a") for x in r], r"row \d+: too few different answers"),
        (
            lambda r: r.__delitem__(slice(250, None)),
            r"and the 8 for few-shot prompts are too few for prepare\.valid of 64",
        ),
    ],
)
def test_bad_rows_are_named(make: Make, tmp_path: Path, change: Any, message: str) -> None:
    rows = [dict(r) for r in GOOD]
    change(rows)
    file = write_rows(tmp_path / "x.jsonl", rows)
    with pytest.raises(SteadyPhiError, match=message) as caught:
        sources.load(make("jsonl", file), file)
    assert "x.jsonl" in str(caught.value) and "\n" not in str(caught.value)


def test_a_line_that_is_no_json_is_named(make: Make, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "x.jsonl", list(GOOD))
    lines = file.read_text().splitlines()
    lines[300] = '{"instruction": "x", '
    file.write_text("\n".join(lines))
    with pytest.raises(SteadyPhiError, match=r"x\.jsonl: row 301: not JSON"):
        sources.load(make("jsonl", file), file)
    with pytest.raises(SteadyPhiError, match="no such file"):
        sources.load(make("jsonl", file), tmp_path / "absent.jsonl")


def test_equal_rows_count_once_and_choices_may_come_with_the_data(make: Make, tmp_path: Path) -> None:
    rows = [{**r, "options": [r["response"], "none", "all"]} for r in GOOD]
    file = write_rows(tmp_path / "x.jsonl", [*rows, *rows])
    material = sources.load(make("jsonl", file, task={"choices": "options"}, items=100), file)
    assert len(material.train) + len(material.valid) + len(material.items) + len(material.shots) == 400
    assert all(i.choices == (i.question[4:-1], "none", "all") and i.answer == 0 for i in material.items)


def test_too_long_is_left_out_and_counted(make: Make, lit_tiny: Path, tmp_path: Path) -> None:
    rows = [dict(r) for r in GOOD]
    for row in rows[::4]:
        row["instruction"] += " word" * 600
    file = write_rows(tmp_path / "x.jsonl", rows)
    tokenizer = TextTokenizer(lit_tiny)
    counted = prepare(make("jsonl", file, shots=0), file, tokenizer, tmp_path / "out")
    assert counted["skipped_examples"] + counted["skipped_items"] == 100
    assert counted["skipped_examples"] > 0 < counted["skipped_items"]
    for row in rows:
        row["instruction"] += " word" * 600
    with pytest.raises(SteadyPhiError, match="no training example fits"):
        prepare(make("jsonl", write_rows(file, rows)), file, tokenizer, tmp_path / "o")


def test_a_question_with_several_answers_stays_on_one_side(make: Make, tmp_path: Path) -> None:
    rows = [{"id": n, "instruction": f"Say  {n % 150}.", "response": str(n)} for n in range(450)]
    rows += [{"id": n, "instruction": f"say {n}.", "response": f"{n}!"} for n in range(150)]
    file = write_rows(tmp_path / "x.jsonl", rows)
    material = sources.load(make("jsonl", file, items=40, valid=30, shots=5), file)
    asked = [
        {" ".join(question.casefold().split()) for question in questions}
        for questions in (
            [p.question for p in material.train],
            [p.question for p in material.valid],
            [i.question for i in material.items],
            [i.question for i in material.shots],
        )
    ]
    assert [len(a) for a in asked] == [75, 30, 40, 5]
    assert len(set().union(*asked)) == 150  # apart
    assert len(material.train) == 75 * 4


def test_textbook_questions_are_the_same_however_many_examples_are_shown(make: Make) -> None:
    many, few = (
        sources.load(make("textbook", TEXTBOOK, items=60, examples=40, shots=n), Path("unused"))
        for n in (8, 0)
    )
    assert many.items == few.items and list(many.train) == list(few.train) and not few.shots
    assert len({shot.question for shot in many.shots} - {item.question for item in many.items}) == 8


def test_questions_of_another_file_are_left_out_of_training(make: Make, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.jsonl", GOOD)
    rows = [{"instruction": f"say  {n}.", "response": str(n)} for n in range(390, 430)]
    task_file = write_rows(tmp_path / "task.jsonl", rows)
    material = sources.load(make("jsonl", data, task_file=str(task_file), valid=20, shots=8), data)
    # 40 questions: 8 are kept back as examples, and of the 10 that stand in both files none is trained on.
    assert (len(material.items), len(material.shots)) == (32, 8)
    assert {i.question for i in [*material.items, *material.shots]} == {row["instruction"] for row in rows}
    trained = {pair.question for pair in [*material.train, *material.valid]}
    assert trained == {f"Say {n}." for n in range(390)}
    # The generator, which stands in params.yaml unless one says otherwise, is no file of questions.
    first, *others = (
        sources.load(make("jsonl", data, task_file=name), data) for name in (TEXTBOOK, None, str(data))
    )
    for other in others:
        assert (other.items, other.shots) == (first.items, first.shots)
        assert (list(other.train), list(other.valid)) == (list(first.train), list(first.valid))


def test_listed_options_are_left_out_of_training_too(make: Make, tmp_path: Path) -> None:
    """A row is known by all its text, an item by its question without the options: both count."""
    rows = [{"instruction": f"Which is {n}?\nOptions:\n- {n}\n- none", "response": str(n)} for n in range(30)]
    data, task_file = (write_rows(tmp_path / name, rows) for name in ("data.jsonl", "task.jsonl"))
    settings = make(
        "jsonl", data, task_file=str(task_file), items=10, valid=1, shots=2, task={"choices": "{instruction}"}
    )
    material = sources.load(settings, data)
    asked = {item.question for item in [*material.items, *material.shots]}
    trained = {pair.question.split("\n")[0] for pair in [*material.train, *material.valid]}
    assert len(asked) == 12 and len(trained) == 18 and not asked & trained


@pytest.mark.parametrize(
    "name", ["date_understanding", "logical_deduction_three_objects", "boolean_expressions"]
)
def test_big_bench_hard(make_task: Make, shared: Path, name: str) -> None:
    file = shared / "data" / "bbh" / f"{name}.json"
    task = "bbh-boolean" if name == "boolean_expressions" else "bbh"
    settings = make_task(task, task_file=str(file), items=1000, examples=9)
    material = sources.load(settings, Path("unused"))
    raw = json.loads(file.read_text())["examples"]
    distinct = {" ".join(e["input"].casefold().split()) for e in raw}
    assert len(material.items) + len(material.shots) == len(distinct)
    for item in [*material.items, *material.shots]:
        row = raw[int(item.id.removeprefix("row-")) - 1]
        right = item.choices[item.answer]
        assert f"{row['target']} {right}" in row["input"] if task == "bbh" else right == row["target"]
        assert row["input"].startswith(item.question) and "Options:" not in item.question
        assert task == "bbh-boolean" or len(item.choices) == row["input"].count("\n(")
