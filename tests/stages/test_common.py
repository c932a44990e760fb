"""What stages share: one process at a time, one line for an error, a clean end when stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from stages.compose import compose_all
from tests.conftest import ROOT

SLEEPY = """
import time
from stages.common import run_stage
def body(run):
    print("started", flush=True)
    time.sleep(60)
run_stage("convert", body)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name in ("conf", "assets", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    compose_all(tmp_path)
    return tmp_path


def start(workspace: Path, *arguments: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "DVC_ROOT": str(workspace)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *arguments], cwd=workspace, env=env, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def test_a_stage_that_still_runs_is_not_started_twice(workspace: Path) -> None:
    (workspace / ".cache" / "locks").mkdir(parents=True)
    with FileLock(workspace / ".cache" / "locks" / "convert.lock"):
        _, error = start(workspace, "-m", "stages.convert").communicate(timeout=60)
    assert error.count("\n") == 1 and "another process still runs the stage convert" in error


def test_a_missing_input_is_one_line(workspace: Path) -> None:
    stage = start(workspace, "-m", "stages.convert")
    _, error = stage.communicate(timeout=60)
    assert stage.returncode == 1
    assert error.strip().count("\n") == 0 and error.startswith("error: artifacts/weights: not found")
    assert not list((workspace / "artifacts").glob(".*"))


def test_a_terminal_without_unicode(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0"}.items():
        monkeypatch.setenv(name, value)
    program = "from stages.common import errors_in_a_line\nwith errors_in_a_line('x'): print('\\u2026')"
    assert start(workspace, "-c", program).communicate(timeout=60) == ("\\u2026\n", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_stage_ends_at_once_and_says_killed(workspace: Path, number: int, code: int) -> None:
    import mlflow

    stage = start(workspace, "-c", SLEEPY)
    assert stage.stdout and stage.stdout.readline() == "started\n"
    asked = time.monotonic()
    stage.send_signal(number)
    _, error = stage.communicate(timeout=60)
    assert time.monotonic() - asked < 10
    assert stage.returncode == code and "Traceback" not in error
    if number == signal.SIGINT:
        assert error.splitlines()[-1] == "stopped: convert; dvc repro starts it again"
    client = mlflow.MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    experiment = client.get_experiment_by_name("steadyphi")
    runs = client.search_runs([experiment.experiment_id])
    assert {r.info.status for r in runs} == {"KILLED"}  # the stage, and the experiment that it was part of
