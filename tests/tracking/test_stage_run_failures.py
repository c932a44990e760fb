"""A store or a process that fails costs one line; the stage goes on, and the run gets its status."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steadyphi.tracking.stage_run import KEPT
from tests.tracking.conftest import DIGEST
from tests.tracking.rows import client, name_of, published, record, runs, start


def one_warning(capfd: pytest.CaptureFixture[str], then: str = KEPT) -> str:
    out, err = capfd.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("warning: MLflow: ")
    assert line.endswith(f"; {then}")
    return line


@pytest.mark.parametrize(
    ("uri", "then"),
    [
        ("http://me:pw@127.0.0.1:9", KEPT),
        ("sqlite:////proc/no/mlflow.db", KEPT),
        ("foo://bar", "the stage goes on without tracking"),  # no such kind of store, also later
    ],
)
def test_a_store_out_of_reach_costs_a_warning_and_a_few_seconds(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], uri: str, then: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    begin = time.monotonic()
    with record() as run:
        run.params({"seed": 0})
        run.metrics({"loss": 1.0})
        run.summary(published({}))
    assert time.monotonic() - begin < 8
    assert "pw" not in one_warning(capfd, then)
    assert not [p for p in (root / ".cache").rglob("*") if p.is_file() and b"pw" in p.read_bytes()]


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begin = time.monotonic()
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:  # takes connections, no more
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        with record() as run:
            run.metrics({"loss": 1.0})
    assert time.monotonic() - begin < 15
    one_warning(capfd)


@pytest.mark.parametrize(
    "act",
    [
        lambda run: run.metrics({"loss": "not a number"}),
        lambda run: run.metrics({"/bad//name": 1.0}),  # buffered: fails at the end
    ],
)
def test_a_failure_midway_still_ends_the_run(
    root: Path, capfd: pytest.CaptureFixture[str], act: Callable[[Any], None]
) -> None:
    with record() as run:
        act(run)
        run.output("model", "abc")
    one_warning(capfd, "the stage goes on without tracking")
    assert runs()[1][0].info.status == "FINISHED"


@pytest.mark.slow
def test_a_killed_migration_leaves_nothing_that_git_sees(root: Path) -> None:
    (root / "mlflow.db").unlink()
    stage = start("finetune", DIGEST, seconds=60)
    until = time.monotonic() + 60
    while not any((root / ".cache").glob(".mlflow.db.*.tmp")):
        assert time.monotonic() < until and stage.poll() is None
        time.sleep(0.01)
    stage.kill()
    stage.communicate()
    assert {path.name for path in root.iterdir()} == {".cache"}  # which .gitignore names
    with record():
        pass
    assert runs()[1][0].info.status == "FINISHED"


@pytest.mark.slow
def test_a_fresh_store_survives_processes_that_start_together(root: Path) -> None:
    (root / "mlflow.db").unlink()
    stages = [start(f"evaluate@{i}", DIGEST) for i in range(3)] + [start("finetune", "b" * 12)]
    for stage in stages:
        assert stage.communicate(timeout=120) == ("ready\n", "")  # MLflow's own chatter would show here
    parents, children = runs()
    assert sorted(run.info.run_name for run in parents) == [f"title of {DIGEST}", "title of " + "b" * 12]
    assert len(children) == 4
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {path.name for path in root.iterdir()} == {"mlflow.db", ".cache"}


@pytest.mark.slow
def test_the_dead_are_reaped_and_the_living_are_not(root: Path) -> None:
    dvc = root / "dvc"
    dvc.write_text("import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])")
    killed = start("fetch", "a" * 12, seconds=60)
    orphaned = start("finetune", "b" * 12, seconds=60, under=(str(dvc),))
    for process in (killed, orphaned):
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.wait()

    def statuses() -> dict[str, str]:
        with record("next"):
            return {name_of(run): run.info.status for group in runs() for run in group}

    now = statuses()
    assert now["fetch"] == "KILLED"
    assert now["a" * 12] == "RUNNING"  # its owner, this process, may well start the next stage
    assert (now["finetune"], now["b" * 12]) == ("RUNNING", "RUNNING")  # dvc is dead, its stage is not
    [orphan] = [run for run in runs()[1] if run.info.run_name.startswith("finetune ")]
    os.kill(int(orphan.data.tags["process"].split(":")[1]), signal.SIGKILL)
    time.sleep(0.2)
    assert [statuses()[name] for name in ("finetune", "b" * 12)] == ["KILLED", "KILLED"]


@pytest.mark.slow
def test_sigterm_ends_the_run(root: Path) -> None:
    stage = start("finetune", DIGEST, seconds=60)
    assert stage.stdout.readline() == "ready\n"
    stage.terminate()
    assert stage.communicate(timeout=30)[1] == ""
    assert stage.returncode == 128 + signal.SIGTERM
    _, [child] = runs()
    assert (child.info.status, child.data.metrics) == ("KILLED", {"loss": 1.0})


def test_without_an_artifact_store_metrics_and_status_are_recorded(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "mlartifacts").write_text("a file where a folder should be")
    (tmp_path / "curve.csv").write_text("step\n1\n")
    with record() as run:
        run.params({"lr": 0.1})
        run.artifact(tmp_path / "curve.csv")
        run.text("an answer", "samples/1.txt")
        run.metrics({"loss": 0.5}, step=3)
        run.summary(published({"spread": 0.2}, tmp_path / "curve.csv"))
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: MLflow: the artifact store file://")
    assert warnings[0].endswith(f"; {KEPT}")
    experiment = client().get_experiment_by_name("steadyphi")
    runs = client().search_runs([experiment.experiment_id])
    assert {r.info.status for r in runs} == {"FINISHED"} and len(runs) == 2
    assert {"loss": 0.5} in [r.data.metrics for r in runs] and {"spread": 0.2} in [
        r.data.metrics for r in runs
    ]
