"""The walk-throughs of docs/data.md, as written: their files are made, recognized and prepared."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from dvc.utils.hydra import apply_overrides

from steadyphi.data.prepare import prepare
from steadyphi.data.tables import read_examples, read_items, read_table
from steadyphi.prompts import own_formats
from steadyphi.prompts.formats import FORMATS
from steadyphi.settings.compose import compose, read_params
from steadyphi.settings.values import RowFormatName
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
WALKS = dict(re.findall(r"\n### ([^\n]+)\n[^`]*```\n(python.*?)```", PAGE, re.DOTALL))
NAMES = {
    "Alpaca": "alpaca",
    "Messages": "messages",
    "ShareGPT": "sharegpt",
    "Prompt and completion": "prompt-completion",
    "Question and answer": "question-answer",
    "Instruction and response": "instruction-response",
    "Plain text": "text",
    "Other columns": "columns",
}
OTHERS = {
    "A folder": "instruction-response",
    "A mixture": "question-answer",
    "A prompt format of your own": "instruction-response",
    "The last answer alone": "messages",
}


def test_every_format_has_a_row_in_the_table_and_a_walk_through_of_five_lines() -> None:
    formats = set(get_args(RowFormatName)) - {"auto"}
    table = PAGE.partition("\n## ")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \| .* \| .* \|$", table, re.MULTILINE)) == formats
    assert WALKS.keys() == NAMES.keys() | OTHERS.keys() and set(NAMES.values()) == formats
    assert all(len(walk.splitlines()) == 5 for walk in WALKS.values())


def test_columns_named_in_params_yaml(phi_tiny: Path, tmp_path: Path) -> None:
    making = "\n".join(WALKS["Other columns"].splitlines()[:-2]).replace("/tmp/", f"{tmp_path}/")
    subprocess.run(["sh", "-c", making.replace("python", shlex.quote(sys.executable), 1)], check=True)
    (lines,) = re.findall(r"```yaml\n(data: jsonl.*?)```", PAGE, re.DOTALL)
    (tmp_path / "params.yaml").write_text(lines.replace("/tmp/", f"{tmp_path}/"))
    settings = compose(read_params(tmp_path / "params.yaml"), ROOT / "conf").prepare
    tokenizer = TextTokenizer(phi_tiny)
    counts = prepare(settings, Path(settings.data_file), tokenizer, tmp_path / "out")
    assert (counts["train_examples"], counts["items"]) == (200 - 20 - 40 - 8, 40)
    (item, *_) = read_items(tmp_path / "out" / "items.parquet")
    assert re.fullmatch(r"Double the number \d+\.", item.question)
    trained = tokenizer.decode(read_examples(tmp_path / "out" / "train.parquet")[0].tokens)
    assert "Be brief. Double the number" in trained


@pytest.mark.parametrize("title", WALKS)
def test_walk_through(
    title: str,
    phi_tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    *making, experiment, last = WALKS[title].replace("/tmp/", f"{tmp_path}/").splitlines()
    script = "\n".join(making).replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(["sh", "-c", script], check=True)
    dvc, exp, run, *options = shlex.split(experiment)
    assert (dvc, exp, run, last) == ("dvc", "exp", "run", "dvc metrics show")
    assert set(options[::2]) == {"-S"}
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    apply_overrides(str(tmp_path / "params.yaml"), options[1::2])  # as `dvc exp run -S` does
    settings = compose(read_params(tmp_path / "params.yaml"), ROOT / "conf").prepare
    for name in own_formats.read(ROOT / "conf" / "prompts"):
        monkeypatch.setitem(FORMATS, name, FORMATS["qa"])  # taken out again after the test
    counts = prepare(settings, Path(settings.data_file), TextTokenizer(phi_tiny), tmp_path / "out")
    assert re.search(
        rf"{settings.data_file}\S*: read as {(NAMES | OTHERS)[title]} \(", capsys.readouterr().err
    )
    asked = 40 + 8 if settings.task.source == "jsonl" else 0
    assert counts["train_examples"] == 200 - 20 - asked and counts["items"] == (40 if asked else 200)
    assert counts["unusable_rows"] == counts["skipped_examples"] == 0
    rows = read_table(tmp_path / "out" / "train.parquet")
    if title == "A mixture":
        assert counts["train_examples_sums"] + counts["train_examples_chats"] == 132
        assert {row["style"] for row in rows if row["id"].startswith("chats")} == {"chat"}
    if title == "A prompt format of your own":
        assert 0.3 < sum(row["style"] == "tutor" for row in rows) / len(rows) < 0.5
    if title == "The last answer alone":
        assert not any(row["later"] for row in rows) and min(row["prompt"] for row in rows) > 15
