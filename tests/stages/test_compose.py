"""The stage `compose`: one file of settings for each stage, or one line and exit 1."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.compose import compose_all
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.files import digest, load_settings
from steadyphi.settings.schema import STAGES, Finetune, Publish
from tests.conftest import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "assets" / "phi-tiny").mkdir(parents=True)
    return tmp_path


def run(root: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *flags, "-m", "stages.compose"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_writes_one_file_a_stage(root: Path) -> None:
    settings = compose_all(root)
    folder = root / "artifacts" / "config"
    assert {file.name for file in folder.iterdir()} == {f"{stage}.yaml" for stage in STAGES}
    assert load_settings(folder / "finetune.yaml", Finetune) == settings.finetune
    assert load_settings(folder / "publish.yaml", Publish).digest == digest(settings)


def test_leaves_other_files_and_same_bytes(root: Path) -> None:
    folder = root / "artifacts" / "config"
    compose_all(root)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "mine.txt").write_text("mine")
    with (root / "conf" / "config.yaml").open("a") as config:
        config.write("# a comment\n")
    compose_all(root)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {**before, "mine.txt": b"mine"}


def test_a_refusal_leaves_the_old_files(root: Path) -> None:
    compose_all(root)
    file = root / "artifacts" / "config" / "finetune.yaml"
    before = file.read_bytes()
    (root / "params.yaml").write_text("model: phi2\n")
    with pytest.raises(SteadyPhiError):
        compose_all(root)
    assert file.read_bytes() == before


def test_params_reach_the_stage(root: Path) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    params["finetune"] |= {"lr": 1.0e-5, "warmup_ratio": 0.25}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    # What `dvc exp run -S finetune.lr=1.0e-5` makes of it, which YAML 1.1 would take for text.
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("1.0e-05", "1e-05"))
    assert "lr: 1e-05" in (root / "params.yaml").read_text()
    compose_all(root)
    finetune = load_settings(root / "artifacts" / "config" / "finetune.yaml", Finetune)
    assert (finetune.lr, finetune.warmup_ratio) == (1e-5, 0.25)


def test_as_a_command(root: Path) -> None:
    done = run(root)
    assert done.returncode == 0, done.stderr
    assert {p.stem for p in (root / "artifacts" / "config").iterdir()} == set(STAGES)


def test_a_refusal_is_quick(root: Path) -> None:
    # Imports take most of the time of this stage, and nobody should wait for them to hear of a typing error.
    (root / "params.yaml").write_text("model: phi2\n")
    done = run(root, "-X", "importtime")
    assert done.returncode == 1
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported
    assert not {"torch", "mlflow", "transformers", "numpy"} & imported


def test_as_a_command_refuses_in_one_line(root: Path) -> None:
    (root / "params.yaml").write_text("model: phi2\n")
    done = run(root)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: params.yaml: model: unknown option 'phi2'; did you mean phi-2?"
    ]
