"""stages/python.sh: a stage runs with the interpreter that runs DVC, whatever `python` on PATH is."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAGE = """
stages:
  who:
    cmd: sh "{script}" -c "import sys, yaml; open('who.txt', 'w').write(sys.executable)"
    outs: [who.txt]
"""


@pytest.fixture
def other_python(tmp_path: Path) -> str:
    """A PATH whose `python` is not the one that has the packages."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python").write_text('#!/bin/sh\necho "the wrong python" >&2\nexit 7\n')
    (folder / "python").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_dvc_without_an_activated_environment(tmp_path: Path, other_python: str, shell: str) -> None:
    project = tmp_path / "a project"
    project.mkdir()
    (project / "dvc.yaml").write_text(STAGE.format(script=ROOT / "stages" / "python.sh"))
    env = {"PATH": other_python, "HOME": str(tmp_path), "SHELL": shell, "DVC_NO_ANALYTICS": "1"}
    for command in (["init", "--no-scm", "-q"], ["repro"]):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command], cwd=project, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "who.txt").read_text() == sys.executable
