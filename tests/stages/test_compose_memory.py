"""What `compose` says of the machine: before the run, in a line, and never in what it writes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.compose import compose_all
from steadyphi.budget import memory
from steadyphi.budget.free_memory import FreeMemory
from steadyphi.errors import SteadyPhiError
from tests.conftest import ROOT


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (memory.SKIP, "WORLD_SIZE", "STEADYPHI_NPROC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STEADYPHI_DEVICE", "cpu")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copytree(ROOT / "assets" / "phi-tiny", tmp_path / "assets" / "phi-tiny")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def choose(root: Path, **choices: object) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    (root / "params.yaml").write_text(yaml.safe_dump({**params, **choices}))


def written(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (root / "artifacts" / "config").iterdir()}


def test_as_a_command(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stages.compose"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("finetune needs about ")]
    assert len(lines) == 1 and "this machine has " in lines[0]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "psutil" in imported
    assert "torch" not in imported


@pytest.mark.parametrize("source", ["microsoft/phi-2", "microsoft/phi-1_5"])
def test_a_model_that_is_not_fetched_yet(
    root: Path, source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose(root, model={"microsoft/phi-2": "phi-2", "microsoft/phi-1_5": "phi-1.5"}[source])
    monkeypatch.setattr(memory, "free_memory", lambda *_: FreeMemory(80 * 10**9, "the GPU", gpu=True))
    compose_all(root)
    assert capsys.readouterr().err.startswith("finetune needs about ")


def test_an_unknown_model_is_not_spoken_of(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choose(root, fetch={"source": "somebody/phi", "revision": "0" * 40})
    compose_all(root)
    assert capsys.readouterr().err == ""


def test_refuses_what_cannot_fit_unless_told_not_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(root, model="phi-2", method="lora")
    monkeypatch.setattr(memory, "computed_in", lambda *_: "bfloat16")  # whatever this CPU computes in
    monkeypatch.setattr(memory, "free_memory", lambda *_: FreeMemory(80 * 10**9, "the GPU", gpu=True))
    compose_all(root)
    before = written(root)
    monkeypatch.setattr(memory, "free_memory", lambda *_: FreeMemory(8 * 10**9, "the GPU", gpu=True))
    with pytest.raises(SteadyPhiError, match=r"checkpointing: true.*STEADYPHI_SKIP_MEMORY_CHECK=1"):
        compose_all(root)
    monkeypatch.setenv(memory.SKIP, "1")
    compose_all(root)
    assert written(root) == before


def test_every_process_counts(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEADYPHI_NPROC", "2")
    compose_all(root)
    assert " in each of 2 processes (" in capsys.readouterr().err
    monkeypatch.setenv("STEADYPHI_NPROC", "two")
    with pytest.raises(SteadyPhiError, match="STEADYPHI_NPROC"):
        compose_all(root)


@pytest.mark.parametrize("setting", ["float16", "fp16"])
def test_float16_is_refused_with_the_reason(root: Path, setting: str) -> None:
    choose(root, finetune={"precision": setting})
    with pytest.raises(SteadyPhiError) as refused:
        compose_all(root)
    assert str(refused.value) == (
        "params.yaml: finetune.precision: float16 overflows in Phi-2's attention scores (QK^T) and gives "
        "NaN; use bfloat16 or auto"
    )
