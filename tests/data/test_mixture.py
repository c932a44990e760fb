"""Several sources: each with its format, styles, limit and weight, and no question on both sides."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from steadyphi.data import sources
from steadyphi.data.prepare import prepare
from steadyphi.data.tables import read_items, read_table
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.compose import compose
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

SUMS = {"name": "sums", "file": "sums.jsonl", "weight": 2, "styles": ["qa"], "grammar": 0}
CHATS = {"name": "chats", "file": "chats/*.jsonl", "format": "messages", "limit": 30}
NOTES: dict[str, Any] = {
    "name": "notes",
    "file": "notes.csv",
    "instruction": "{Body} {Ask?}",
    "response": "{Said}",
    "styles": ["bare-newline"],
    "grammar": 0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 sums, two files of 40 chats each, of which one has a sum as a later question, and 20 notes."""
    folder = tmp_path / "mixture"
    (folder / "chats").mkdir(parents=True)
    sums = [{"question": f"What is {n} and 1?", "answer": str(n + 1)} for n in range(60)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums))
    for part in ("a", "b"):
        turns = [
            [("user", f"Hello {part} {n}."), ("assistant", "Hello."), ("user", f"What is {n} and 1?")]
            for n in range(40)
        ]
        rows = [
            {"messages": [{"role": r, "content": c} for r, c in [*turn, ("assistant", f"Sum {n}")]]}
            for n, turn in enumerate(turns)
        ]
        (folder / "chats" / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cells = [f"Note {n},{'Why?' if n % 2 else ''},00{n}" for n in range(20)]
    (folder / "notes.csv").write_text("\n".join(["Body,Ask,Said", *cells]) + "\n")
    return folder


def mixed(folder: Path, *listed: dict[str, Any], **changes: Any) -> Prepare:
    section = {"valid": 5, "items": 10, "shots": 2, "sources": list(listed), **changes}
    return compose({"data": "mixture", "data_file": str(folder), "prepare": section}, ROOT / "conf").prepare


def test_each_source_in_its_own_way(folder: Path, phi_tiny: Path, tmp_path: Path, capsys: Any) -> None:
    settings, tokenizer = mixed(folder, SUMS, CHATS, NOTES), TextTokenizer(phi_tiny)
    counts = prepare(settings, folder, tokenizer, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "train.parquet")
    by_source = Counter(row["id"].partition("-row-")[0] for row in rows if row["rendering"] == 0)
    assert (
        counts["train_examples_chats"]
        == by_source["chats/chats/a.jsonl"] + by_source["chats/chats/b.jsonl"]
        == 30
    )
    assert counts["train_examples_sums"] == by_source["sums"]
    assert counts["train_examples_notes"] == by_source["notes"] <= 20
    assert counts["train_examples"] == sum(by_source.values())
    tokens = {
        name: sum(len(row["tokens"]) for row in rows if row["id"].startswith(name))
        for name in ("sums", "chats", "notes")
    }
    assert tokens == {name: counts[f"train_tokens_{name}"] for name in tokens}
    assert sum(tokens.values()) == counts["train_tokens"]
    # Each sum twice in an epoch, the second time under another id; in its only style.
    ids = Counter(r["id"].removesuffix("-again-1") for r in rows if r["id"].startswith("sums"))
    assert set(ids.values()) == {2 * settings.renderings} and 0 < len(ids) < 60
    assert {row["style"] for row in rows if row["id"].startswith("sums")} == {"qa"}
    assert len({row["style"] for row in rows if row["id"].startswith("chats")}) > 5
    # Text of the CSV file stays text, and an optional column that is blank leaves nothing behind.
    texts = [tokenizer.decode(row["tokens"]) for row in rows if row["id"].startswith("notes")]
    assert {f"Note {n}{' Why?' * (n % 2)}\n00{n}<|endoftext|>" for n in range(20)} > set(texts) > set()
    assert counts["exact_duplicates"] == 0  # a row that its weight repeats is none
    printed = capsys.readouterr().err.splitlines()
    assert [line.partition(": read as ")[2][:8] for line in printed] == ["question", "messages", "columns "]


def test_names_with_the_mark_of_a_repeated_row(folder: Path, phi_tiny: Path, tmp_path: Path) -> None:
    (folder / "chats" / "a.jsonl").rename(folder / "chats" / "x-again-b.jsonl")
    settings = mixed(folder, SUMS | {"name": "a-again-1"}, CHATS)
    counts = prepare(settings, folder, TextTokenizer(phi_tiny), tmp_path / "out")
    assert counts["train_examples_a-again-1"] > 60 and counts["exact_duplicates"] == 0


def test_validation_and_evaluation_use_what_the_sources_train_on(
    folder: Path, phi_tiny: Path, tmp_path: Path
) -> None:
    tokenizer, params = TextTokenizer(phi_tiny), {"valid": 5, "items": 10}
    none = mixed(folder, SUMS, CHATS | {"grammar": 0})
    assert prepare(none, folder, tokenizer, tmp_path / "none")["valid_formats"] <= 3
    partly = mixed(folder, SUMS, CHATS | {"grammar": 0.5}, grammar=0)
    assert prepare(partly, folder, tokenizer, tmp_path / "some")["valid_formats"] == 8
    params |= {"sources": [SUMS, CHATS], "grammar": 1}
    chosen = {"data": "mixture", "data_file": str(folder), "prepare": params}
    evaluate = compose(chosen, ROOT / "conf").evaluate
    assert (evaluate.styles, evaluate.grammar) == (("qa",), 0.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"context": 40}, "its 1 rows have text in common .* longer than prepare.context of 40 tokens"),
        ({"examples": 1}, "its rows are all used for evaluation and validation, or left out by prepare.exam"),
    ],
)
def test_a_source_that_is_not_trained_on(
    folder: Path, phi_tiny: Path, tmp_path: Path, changes: dict[str, int], reason: str
) -> None:
    turns = [("user", "Why?"), ("assistant", "Because. " * 40), ("user", "Oh?"), ("assistant", "Yes.")]
    long = {"messages": [{"role": role, "content": text} for role, text in turns]}
    (folder / "long.jsonl").write_text(json.dumps(long))
    settings = mixed(folder, SUMS, {"name": "tales", "file": "long.jsonl"}, seed=3, formats=["qa"], **changes)
    with pytest.raises(SteadyPhiError, match=f"the source tales is not trained on: {reason}"):
        prepare(settings, folder, TextTokenizer(phi_tiny), tmp_path / "out")
    assert not list((tmp_path / "out").glob("train*"))


def test_a_source_whose_columns_fit_two_formats(folder: Path) -> None:
    row = {"question": "a", "answer": "b", "prompt": "c", "completion": "d"}
    (folder / "sums.jsonl").write_text(json.dumps(row))
    with pytest.raises(SteadyPhiError, match="name the right one in sums's format; for other columns"):
        sources.load(mixed(folder, SUMS), folder)


def test_real_sources_together(shared: Path, phi_tiny: Path, tmp_path: Path) -> None:
    """GSM8K, Self-Instruct with its nested columns, and a chat file."""
    chats = shared / "cases" / "data" / "messages.jsonl"
    if not chats.is_file():
        pytest.skip(f"needs {chats}, which this clone does not have")
    folder = tmp_path / "real"
    folder.mkdir()
    problems = (shared / "data" / "gsm8k" / "train.jsonl").read_text().splitlines(keepends=True)[:150]
    (folder / "gsm8k.jsonl").write_text("".join(problems))
    (folder / "tasks.jsonl").symlink_to(shared / "data" / "self-instruct" / "seed_tasks.jsonl")
    (folder / "chats.jsonl").symlink_to(chats)
    nested = {"instruction": "{instruction}\n{instances.0.input?}", "response": "{instances.0.output}"}
    settings = mixed(
        folder,
        {"name": "gsm8k", "file": "gsm8k.jsonl", "limit": 100},
        {"name": "tasks", "file": "tasks.jsonl", **nested},
        {"name": "chats", "file": "chats.jsonl", "weight": 0.5},
    )
    counts = prepare(settings, folder, TextTokenizer(phi_tiny), tmp_path / "out")
    assert 80 < counts["train_examples_gsm8k"] <= 100
    assert counts["train_examples_tasks"] > 100 and counts["train_examples_chats"] > 50
    assert counts["unusable_rows"] == 0 and counts["items"] == 10


def test_no_question_is_trained_on_in_any_source(folder: Path, phi_tiny: Path, tmp_path: Path) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    counts = prepare(mixed(folder, SUMS, CHATS | {"limit": None}), folder, tokenizer, tmp_path)
    items = [*read_items(tmp_path / "items.parquet"), *read_items(tmp_path / "shots.parquet")]
    trained = "\n".join(
        tokenizer.decode(row["tokens"])
        for name in ("train", "valid")
        for row in read_table(tmp_path / f"{name}.parquet")
    )
    assert len(items) == 12 and counts["train_examples_chats"] < 80  # chats that ask one of them are left out
    assert not [item.question for item in items if item.question in trained]


def test_the_same_seed_gives_the_same_bytes(folder: Path, phi_tiny: Path, tmp_path: Path) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare(mixed(folder, SUMS, CHATS, seed=seed), folder, tokenizer, tmp_path / name)
    for file in ("train.parquet", "valid.parquet", "items.parquet"):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b != c


def test_a_weight_below_one_takes_a_part(folder: Path) -> None:
    half = sources.load(mixed(folder, SUMS | {"weight": 0.5}, NOTES), folder)
    whole = sources.load(mixed(folder, SUMS | {"weight": 1}, NOTES), folder)
    count = {
        name: Counter(dialogue.source for dialogue in material.train)
        for name, material in (("half", half), ("whole", whole))
    }
    assert count["half"]["sums"] == round(count["whole"]["sums"] / 2)
    assert count["half"]["notes"] == count["whole"]["notes"]
    assert len({dialogue.id for dialogue in half.train}) == len(half.train)


def test_bad_rows_of_a_source_are_named_with_their_file(folder: Path) -> None:
    with (folder / "sums.jsonl").open("a") as file:
        file.write('{"question": "What?", "answer": ""}\n')
    with pytest.raises(SteadyPhiError, match=r"sums\.jsonl: row 61: the column 'answer' should hold a text"):
        sources.load(mixed(folder, SUMS, CHATS), folder)
    assert sources.load(mixed(folder, SUMS, CHATS, bad_rows="skip"), folder).unusable == 1


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "prepare.sources: empty; list the sources"),
        ([SUMS, SUMS], "prepare.sources: two sources have the same name: sums, sums"),
        ([{"name": "x"}], "x: name either a file or a split on the Hub"),
        ([{"name": "x", "file": "../x.jsonl"}], "x: file: ../x.jsonl is not below the folder data_file"),
        ([{"name": "x", "file": "/x.jsonl"}], "x: file: /x.jsonl is not below the folder data_file"),
        ([SUMS | {"styles": ["qq"]}], "sums: styles: unknown format 'qq'; choose from"),
        ([SUMS | {"weight": 0}], "prepare.sources.weight: should be greater than 0"),
        ([SUMS | {"wieght": 1}], "prepare.sources.wieght: no such key of a source; docs/data.md"),
        ([SUMS | {"name": "My sums"}], "prepare.sources.name: should be lower-case letters, digits, - and _"),
        (
            [{"name": "x", "hub": {"dataset": "a/b", "split": "train"}}],
            "x: hub.revision: null; write the commit",
        ),
        ([SUMS | {"format": "alpaca", "response": "{a}"}], "sums: format: alpaca has columns of its own"),
    ],
)
def test_mistakes_in_the_list(folder: Path, listed: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(SteadyPhiError) as refused:
        mixed(folder, *listed)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert str(refused.value).startswith("params.yaml: ")


def test_sources_that_are_no_list(folder: Path) -> None:
    params = {"data": "mixture", "data_file": str(folder), "prepare": {"sources": {"name": "sums"}}}
    with pytest.raises(
        SteadyPhiError, match=r"prepare\.sources\.name: .*prepare.sources is one value, not a map"
    ):
        compose(params, ROOT / "conf")


def test_sources_without_a_mixture_and_files_without_a_folder(folder: Path) -> None:
    for data, file, changes, message in (
        ("jsonl", folder, {"sources": [SUMS]}, "prepare.sources: several sources need data: mixture"),
        (
            "jsonl",
            f"{folder}/*.jsonl",
            {},
            f"data_file: name a folder, {folder}, and set prepare.files to '*.jsonl'",
        ),
        (
            "jsonl",
            folder / "sums.jsonl",
            {"files": "*.csv"},
            "prepare.files: chooses among the files of a folder",
        ),
        ("jsonl", folder, {"files": "../*.csv"}, "prepare.files: ../*.csv leaves the folder"),
        ("mixture", folder / "sums.jsonl", {"sources": [SUMS]}, "sums.jsonl is no folder; name the one"),
    ):
        with pytest.raises(SteadyPhiError) as refused:
            compose({"data": data, "data_file": str(file), "prepare": changes}, ROOT / "conf")
        assert message in str(refused.value)
