"""The Makefile and scripts/check-tools.sh: a moved project runs, and what is missing is one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DVC_YAML = (
    "stages:\n  one:\n    cmd: sh stages/python.sh -c \"open('out', 'w').write('new')\"\n    outs: [out]\n"
)


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A project with a finished .venv that was created in a folder that no longer exists."""
    if not shutil.which("make", path="/usr/local/bin:/usr/bin:/bin"):
        pytest.skip("needs make")
    folder = tmp_path / "moved to here"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "scripts", "stages"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    commands = folder / ".venv" / "bin"
    commands.mkdir(parents=True)
    # `python` of a real .venv is a link to the system's Python, which is still there.
    (commands / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for name in ("dvc", "mlflow", "ruff", "mypy"):
        (commands / name).write_text(f"#!{tmp_path}/moved from here/.venv/bin/python\n")
    for path in commands.iterdir():
        path.chmod(0o755)
    (folder / ".venv" / "ready").touch()
    assert run(folder, "git", "init", "-q").returncode == 0
    assert run(folder, sys.executable, "-m", "dvc", "init", "-q").returncode == 0
    return folder


def test_a_moved_project_runs(moved: Path) -> None:
    done = run(moved, "make", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (moved / "out").read_text() == "new"


def test_the_tools_are_modules(moved: Path) -> None:
    """No target uses a command of .venv/bin, other than python."""
    for target in ("repro", "test", "lint", "ui"):
        shown = run(moved, "make", "-n", target).stdout.splitlines()
        assert shown and all(line.startswith("python -m ") for line in shown), shown


@pytest.mark.parametrize("below", ["", "a/project"])
def test_a_repository_or_a_folder_of_one(tmp_path: Path, below: str) -> None:
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    check = ["sh", str(ROOT / "scripts" / "check-tools.sh"), sys.executable]
    done = run(folder, *check)
    assert done.returncode == 1 and os.linesep not in done.stderr.strip()
    assert "not a git repository" in done.stderr and "DVC needs a git repository, so clone" in done.stderr
    run(tmp_path, "git", "init", "-q")
    done = run(folder, *check)
    assert (done.returncode, done.stderr) == (0, "")
