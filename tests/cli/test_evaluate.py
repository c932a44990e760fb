"""steadyphi evaluate --endpoint: the result of our own engine, resumed after a failure, or texts alone."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import phi_tiny
from steadyphi.cli.main import main
from steadyphi.data.tables import read_table, write_items
from steadyphi.evaluation import run as evaluation
from steadyphi.inference import http_client
from steadyphi.inference.language_model import LanguageModel
from steadyphi.inference.load import load_model
from steadyphi.prompts.item import Item
from steadyphi.results import stored
from steadyphi.settings.files import load_settings, stage_files
from steadyphi.settings.groups import Open
from steadyphi.settings.schema import Evaluate
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT
from tests.inference.loopback_completions import Completions, serving

TINY = ROOT / "assets" / "phi-tiny"
ITEMS = [
    Item(f"sum-{a}", "adding", f"What is {a} + 7?", (str(a + 7), str(a + 5), "the red box"), 0)
    for a in range(11, 17)
]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings and the questions, as the pipeline writes them."""
    folder = tmp_path_factory.mktemp("artifacts")
    chosen = phi_tiny.settings(items=6)
    small = dataclasses.replace(
        chosen.evaluate,
        formats=("phi2", "qa", "bare"),
        unseen=0,
        draws=100,
        open=Open(3, 4),
    )
    (folder / "config").mkdir()
    (folder / "data").mkdir()
    settings = dataclasses.replace(chosen, evaluate=small)
    (folder / "config" / "evaluate.yaml").write_text(stage_files(settings)["evaluate"])
    write_items(folder / "data" / "items.parquet", ITEMS)
    write_items(folder / "data" / "shots.parquet", [])
    return folder


@pytest.fixture
def server() -> Iterator[Completions]:
    with serving(Completions(load_model(TINY, None, torch.float32), TextTokenizer(TINY))) as completions:
        yield completions


def ask(server: Completions, artifacts: Path, out: Path, *options: str) -> None:
    folders = ["--artifacts", str(artifacts), "--tokenizer", str(TINY)]
    main(["evaluate", str(out), "--endpoint", server.url, *folders, "--context", "512", *options])


def test_the_result_of_our_own_engine(
    server: Completions, artifacts: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr(http_client, "FIRST_WAIT", 0.001)
    monkeypatch.setattr("steadyphi.inference.endpoint.TOGETHER", 8)
    server.limit = 4
    with pytest.raises(SystemExit, match="status 503"):
        ask(server, artifacts, out)
    assert [path.name for path in tmp_path.iterdir()] == [".out.answers.sqlite"]
    server.limit, before = None, len(server.bodies)
    ask(server, artifacts, out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert server.keys == {"Bearer sk-secret"}
    printed = capsys.readouterr()
    assert "sk-secret" not in printed.out + printed.err
    assert " requests; " in printed.out and before == 4

    settings = dataclasses.replace(
        load_settings(artifacts / "config" / "evaluate.yaml", Evaluate), families=None, long=None
    )
    model = LanguageModel(server.model, server.tokenizer, 4096)
    ours = evaluation.run("ours", model, ITEMS, [], settings).result
    theirs = stored.read(out).result
    assert [row.name for row in theirs.variants] == ["phi2", "qa", "bare"]
    for expected, row in zip(ours.variants, theirs.variants, strict=True):
        assert (row.accuracy, row.open) == (expected.accuracy, expected.open)
        assert f"{row.name:20}{row.accuracy:6.1%}" in printed.out
    asked = len(server.bodies)
    with pytest.raises(SystemExit, match="exists already"):
        ask(server, artifacts, out)
    ask(server, artifacts, tmp_path / "again", "--items", "6")
    assert len(server.bodies) - asked > asked - before  # nothing is kept of a complete evaluation


def test_texts_alone(server: Completions, artifacts: Path, tmp_path: Path, capsys: Capture) -> None:
    server.kind = "transformers"
    ask(server, artifacts, tmp_path / "out", "--items", "2")
    rows = read_table(tmp_path / "out" / "written.parquet")
    asked = [(row["variant"], row["item"]) for row in rows]
    assert asked == [(style, item.id) for style in ("phi2", "qa", "bare") for item in ITEMS[:2]]
    printed = capsys.readouterr().out
    right = sum(row["correct"] for row in rows if row["variant"] == "qa") / 2
    assert f"{'qa':20}{right:6.1%}" in printed and "returns no log-probabilities" in printed


def test_wrong_numbers_and_no_server(artifacts: Path, tmp_path: Path, server: Completions) -> None:
    with pytest.raises(SystemExit, match="error: --items: should be 1 or more, not 0"):
        ask(server, artifacts, tmp_path / "out", "--items", "0")
    with pytest.raises(SystemExit, match=r"config/evaluate\.yaml: No such file.*run `dvc repro compose`"):
        ask(server, tmp_path, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_questions_that_do_not_fit_the_context(
    server: Completions, artifacts: Path, tmp_path: Path, capsys: Capture
) -> None:
    """`--context` of the call comes last, so it is the one that counts."""
    with pytest.raises(SystemExit, match="error: --context: no question fits 9 tokens; give the server's"):
        ask(server, artifacts, tmp_path / "out", "--context", "9")
    assert not (tmp_path / "out").exists()
    folder = tmp_path / "longer"
    shutil.copytree(artifacts, folder)
    long = dataclasses.replace(ITEMS[1], question="What is 7 plus " * 9)
    write_items(folder / "data" / "items.parquet", [ITEMS[0], long, ITEMS[2]])
    server.kind = "transformers"
    ask(server, folder, tmp_path / "out", "--context", "48")
    assert "left out: 1 of 3 questions, longer than --context" in capsys.readouterr().out
    rows = read_table(tmp_path / "out" / "written.parquet")
    assert {row["item"] for row in rows} == {ITEMS[0].id, ITEMS[2].id}
