"""stages/python.sh: a stage runs with the interpreter that runs DVC, whatever `python` on PATH is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "stages" / "python.sh"
STAGE = """
stages:
  who:
    cmd: sh "{script}" -c "import sys, yaml; open('who.txt', 'w').write(sys.executable)"
    outs: [who.txt]
"""
WRONG = '#!/bin/sh\necho "the wrong python" >&2\nexit 7\n'


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one stage, in an environment whose `python` is not the one that has the packages."""
    project = tmp_path / "a project"
    project.mkdir()
    (project / "dvc.yaml").write_text(STAGE.format(script=SCRIPT))
    write_program(tmp_path / "bin" / "python", WRONG)
    assert run(project, sys.executable, "-m", "dvc", "init", "--no-scm", "-q").returncode == 0
    return project


def run(project: Path, *command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": f"{project.parent}/bin:/usr/bin:/bin", "HOME": str(project.parent), **env}
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_dvc_without_an_activated_environment(project: Path, shell: str) -> None:
    command = Path(sys.executable).with_name("dvc")  # as it is typed: .venv/bin/dvc repro
    for dvc in ([sys.executable, "-m", "dvc"], [str(command)]):
        (project / "who.txt").unlink(missing_ok=True)
        done = run(project, *dvc, "repro", "--force", "--no-run-cache", SHELL=shell)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (project / "who.txt").read_text() == sys.executable


def as_dvc_of_another_environment(project: Path) -> "subprocess.CompletedProcess[str]":
    """Run the stage's command below a `python` without the packages, as where DVC is installed with pipx."""
    bare = project.parent / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    code = "import subprocess, sys; sys.exit(subprocess.run(['sh', *sys.argv[1:]]).returncode)"
    stage = (str(SCRIPT), "-c", "import sys, yaml; print(sys.executable)")
    return run(project, str(bare / "bin" / "python"), "-c", code, *stage)


def test_dvc_of_an_environment_without_the_packages(project: Path) -> None:
    done = as_dvc_of_another_environment(project)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: no Python has the packages of this project; run make repro, which installs them in .venv"
    ]
    for place in (project.parent / "bin" / "python", project / ".venv" / "bin" / "python"):
        write_program(place, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        done = as_dvc_of_another_environment(project)
        assert (done.returncode, done.stdout.strip()) == (0, sys.executable), done.stderr
        shutil.rmtree(place.parent)
