"""steadyphi preview: what it prints are the tokens that training reads, and it needs no pipeline."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steadyphi.cli.main import main
from steadyphi.data.packing import collate
from steadyphi.data.prepare import prepare
from steadyphi.data.tables import read_examples, read_table
from steadyphi.data.token_view import drawn, stretches
from steadyphi.settings.compose import compose
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def preview(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    main(["preview", *map(str, arguments)])
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["preview", *map(str, arguments)])
    assert isinstance(caught.value.code, str) and "\n" not in caught.value.code
    assert not capsys.readouterr().out
    return caught.value.code


def test_the_middle_of_a_very_long_answer_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"instruction": "x", "output": "a" + " b" * 1000 + " c"}
    text = preview(capsys, write(tmp_path / "a.jsonl", [row]))
    assert "; 1,003 targets, " in text and text.count("·␣b") == 1000 - 3
    assert "·␣b·[…3␣tokens…]·␣b·" in text and text.endswith("·␣c·<|endoftext|>◂\n")


def test_every_token_is_shown_and_the_answer_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": "Name the\tnumber", "output": "a one\ntwo"}, {"instruction": "x", "output": "y"}]
    text = preview(capsys, write(tmp_path / "a.jsonl", rows), "--rows", 1)
    heading, _, title, *shown = text.splitlines()
    assert heading == f"{tmp_path / 'a.jsonl'}: 2 rows, read as alpaca (instruction, output)"
    assert title.startswith("row-1, format phi2: ") and "row-2" not in text
    assert [line.replace("·", "").strip() for line in shown] == [
        "Instruct:␣Namethe⇥number⏎".replace("Namethe", "Name␣the"),
        "Output:▸␣a␣one⏎",
        "two<|endoftext|>◂",
    ]
    tokens, targets = (int(part.split()[0]) for part in title.split(": ")[1].split("; "))
    marks = "\n".join(shown)
    assert marks.count("·") + 4 == tokens  # no dot at the beginning of a line, nor at the boundary
    answer = marks[marks.index("▸") : marks.index("◂")]
    assert answer.count("·") + 2 == targets


def test_it_shows_what_the_pipeline_trains_on(
    tmp_path: Path, phi_tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"messages": turns(n)} for n in range(12)]
    file = write(tmp_path / "chat.jsonl", rows)
    changes = {"valid": 1, "items": 4, "styles": ["phi2"], "grammar": 0, "renderings": 1}
    params = {"data": "jsonl", "data_file": str(file), "task": "textbook", "prepare": changes}
    tokenizer = TextTokenizer(phi_tiny)
    prepare(compose(params, ROOT / "conf").prepare, file, tokenizer, tmp_path / "out")
    text = preview(capsys, file, "--rows", 12)
    path = tmp_path / "out" / "train.parquet"
    for row, example in zip(read_table(path), read_examples(path), strict=True):
        block = next(part for part in text.rstrip("\n").split("\n\n") if part.startswith(f"{row['id']},"))
        title, *shown = block.split("\n")
        expected = drawn(list(stretches(example, tokenizer)))
        assert "\n".join(line.removeprefix("  ") for line in shown) == expected
        assert f"{len(example.tokens)} tokens; {len(collate([example]).targets)} targets" in title
        assert expected.count("<|endoftext|>◂") == 2  # after both answers


def turns(n: int) -> list[dict[str, str]]:
    roles = ("system", "user", "assistant", "user", "assistant")
    texts = ("Be brief.", f"Double {n}.", str(2 * n), "And that?", str(4 * n))
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]


def test_a_style_and_other_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "c.jsonl", [{"task": "Add 1 and 2.", "solution": 3}])
    columns = ("--instruction", "{task}", "--response", "{solution}")
    text = preview(capsys, file, *columns, "--style", "qa").replace("·", "")
    assert "read as columns ({task}, {solution})" in text
    assert "Q:␣Add␣1␣and␣2.⏎\n  A:▸␣3<|endoftext|>◂\n" in text


def test_plain_text_has_no_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = preview(capsys, write(tmp_path / "t.jsonl", [{"text": "Twice 2 is 4."}]))
    assert "format plain" in text and text.replace("·", "").endswith("  T▸wice␣2␣is␣4.<|endoftext|>◂\n")


def test_what_is_wrong_with_rows_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"instruction": "a", "response": ""},
        {"instruction": "Don\u00e2\u20ac\u2122t \x1b[31m", "response": "<|im_end|> it"},
        {"instruction": "b", "response": "..."},
    ]
    text = preview(capsys, write(tmp_path / "m.jsonl", rows))
    assert "! 1 row that cannot be used: row 1: the column 'response' should hold a text" in text
    assert "! 1 row with the text of a special token" in text and "row-2 (<|im_end|>)" in text
    assert "! 1 row with characters that look wrongly decoded, or carriage returns: row-2 (" in text
    assert "! 1 row with an answer without a letter, a number or a symbol: row-3 (...)" in text
    assert "\x1b" not in text


def test_columns_without_braces_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.jsonl", [{"task": "Double 2.", "solution": "4"}])
    write(tmp_path / "b.jsonl", [{"task": "Double 3.", "solution": ""}])
    text = preview(capsys, tmp_path, "--instruction", "task", "--response", "solution")
    assert "Double␣2.⏎\n  Output:▸␣4<" in text.replace("·", "")
    assert "b.jsonl row 1: the column 'solution' should hold a text" in text
    with pytest.raises(SystemExit):
        preview(capsys, tmp_path, "--instruction", "the task")
    assert "--instruction: should name a column" in capsys.readouterr().err


def test_another_tokenizer(
    tmp_path: Path, phi_tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "t.jsonl", [{"prompt": "hat", "completion": "cap"}])
    vocabulary = {letter: n for n, letter in enumerate("ĠĊabchtpInsruO:d")}
    vocabulary["<|endoftext|>"] = len(vocabulary)
    tokenizer = json.loads((phi_tiny / "tokenizer.json").read_text())
    tokenizer["model"].update(vocab=vocabulary, merges=[])
    tokenizer["added_tokens"][0]["id"] = vocabulary["<|endoftext|>"]
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    text = preview(capsys, file, "--model", folder)
    assert "▸␣·c·a·p·<|endoftext|>◂" in text and "I·n·s·t·r·u·c·t·:·␣·h·a·t·⏎\n" in text
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "microsoft/phi-2 is not in the cache" in refused(capsys, file, "--model", "phi-2")


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(
        tmp_path / "a.jsonl", [{"instruction": "a", "response": "b", "prompt": "c", "completion": "d"}]
    )
    assert "the columns fit prompt-completion" in refused(capsys, file)
    assert "should be 1 or more, not 0" in refused(capsys, file, "--format", "prompt-completion", "--rows", 0)
    assert "neither a folder nor one of phi-1.5, phi-2, phi-tiny" in refused(capsys, file, "--model", "gpt")
    missing = tmp_path / "b.jsonl"
    assert refused(capsys, missing) == f"error: {missing}: no such file or folder of rows"
    empty = write(tmp_path / "e.jsonl", [{"prompt": "", "completion": "d"}])
    assert "no row can be used as prompt-completion" in refused(capsys, empty)


def test_colour_only_on_a_terminal(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"prompt": "hat", "completion": "cap"}])
    command = [sys.executable, "-m", "steadyphi.cli.main", "preview", str(file)]
    main_end, terminal = pty.openpty()
    with subprocess.Popen(command, cwd=ROOT, stdout=terminal) as process:
        os.close(terminal)
        shown = b""
        while piece := _read(main_end):
            shown += piece
    os.close(main_end)
    assert process.returncode == 0
    assert b"\x1b[1;32m<|endoftext|>\x1b[0m" in shown and b"\x1b[1;32mInstruct" not in shown
    plain = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    assert b"\x1b" not in plain and "▸".encode() in plain


def _read(end: int) -> bytes:
    try:
        return os.read(end, 4096)
    except OSError:  # Linux raises it when the other end is closed
        return b""
