"""How many processes a run has, and who starts them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.runtime import launch
from tests.conftest import ROOT

MODULE = """
import os, sys
from steadyphi.runtime.launch import launch
launch("started", *sys.argv[1:])
print(f"[{os.environ.get('RANK')} of {os.environ.get('WORLD_SIZE')}]", flush=True)
sys.exit(int(os.environ.get("CODE", 0)))
"""


def run(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "started.py").write_text(MODULE)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "PET_", "STEADYPHI_NPROC"))}
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "started"],
        env=clean | {"PYTHONPATH": path} | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_one_process_is_not_launched(tmp_path: Path) -> None:
    assert run(tmp_path).stdout == "[None of None]\n"


@pytest.mark.slow
def test_so_many_processes(tmp_path: Path) -> None:
    environment = run(tmp_path, STEADYPHI_NPROC="2")
    # Both write into one pipe, so lines may mix.
    assert sorted(re.findall(r"\[.*?\]", environment.stdout)) == ["[0 of 2]", "[1 of 2]"], environment.stderr
    assert environment.returncode == 0


@pytest.mark.slow
def test_the_exit_code_is_the_first_failures(tmp_path: Path) -> None:
    assert run(tmp_path, STEADYPHI_NPROC="2", CODE="3").returncode == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", ""])
def test_not_a_number_of_processes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(launch.NPROC, text)
    with pytest.raises(
        SteadyPhiError, match=f"STEADYPHI_NPROC: should be a number of processes or auto, not '{text}'"
    ):
        launch.wanted()


def test_a_process_that_srun_started() -> None:
    """Within a step of several tasks, and not in the batch script around it."""
    batch = {"SLURM_JOB_ID": "12345", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    environment = dict(batch)
    launch.adopt_slurm(environment)
    assert environment == batch
    step = batch | {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
    }
    environment = dict(step)
    launch.adopt_slurm(environment)
    assert {k: v for k, v in environment.items() if k not in step} == {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "32345",
    }


def test_the_head_of_several_nodes_is_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "scontrol").write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames gpu[07-08]" ] && printf "gpu07\\ngpu08\\n"\n'
    )
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    environment = {
        "SLURM_STEP_NUM_TASKS": "16",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NODELIST": "gpu[07-08]",
    }
    environment |= {"SLURM_PROCID": "9", "SLURM_LOCALID": "1"}
    launch.adopt_slurm(environment)
    assert environment["MASTER_ADDR"] == "gpu07" and environment["RANK"] == "9"


SRUN = """#!/bin/sh
# What srun does, on this machine: the tasks of the job side by side, each with Slurm's variables.
[ "$1" = --kill-on-bad-exit=1 ] || exit 9
shift
echo "cpus $SRUN_CPUS_PER_TASK"
export SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=1 SLURM_STEP_TASKS_PER_NODE=2
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
wait $first && wait $second
"""
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.fixture
def srun(tmp_path: Path) -> dict[str, str]:
    """The environment of a batch script, with a stand-in for srun."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "srun").chmod(0o755)
    return JOB | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


@pytest.mark.parametrize("tasks", [{"SLURM_NTASKS": "2"}, {"SLURM_NTASKS_PER_NODE": "2"}])
def test_a_batch_job_starts_its_tasks_itself(
    tmp_path: Path, srun: dict[str, str], tasks: dict[str, str]
) -> None:
    """So a Slurm script is `dvc repro`; the tasks do not start further ones."""
    environment = run(tmp_path, **srun, **tasks, SLURM_CPUS_PER_TASK="8")
    assert re.findall("cpus .", environment.stdout) == ["cpus 8"]
    assert sorted(re.findall(r"\[.*?\]", environment.stdout)) == ["[0 of 2]", "[1 of 2]"], environment.stderr
    assert run(tmp_path, **srun, **tasks, CODE="3").returncode == 3


def test_a_job_of_one_task_and_one_that_asks_for_torchrun_do_not(
    tmp_path: Path, srun: dict[str, str]
) -> None:
    assert run(tmp_path, **srun, SLURM_NTASKS="1").stdout == "[None of None]\n"
    assert run(tmp_path, **srun, SLURM_NTASKS="2", STEADYPHI_NPROC="1").stdout == "[None of None]\n"


def test_the_processes_on_each_machine_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a run for the estimate of its memory, in it for the sharding of its weights."""
    step = {"SLURM_STEP_NUM_TASKS": "16", "SLURM_PROCID": "9", "SLURM_LOCALID": "1"}
    for tasks, expected in (("8(x2)", "8"), ("16", "16"), ("8,4", None)):
        environment = step | {"SLURM_STEP_TASKS_PER_NODE": tasks}
        launch.adopt_slurm(environment)
        assert environment.get("LOCAL_WORLD_SIZE") == expected
    for name in [name for name in os.environ if name.startswith(("SLURM_", "PET_", "STEADYPHI_NPROC"))]:
        monkeypatch.delenv(name)
    assert launch.planned() == (1, 1)
    for name, value in (JOB | {"SLURM_NTASKS": "16", "SLURM_JOB_NUM_NODES": "2"}).items():
        monkeypatch.setenv(name, value)
    assert launch.planned() == (8, 2)
    monkeypatch.setenv(launch.NPROC, "4")
    monkeypatch.setenv("PET_NNODES", "2:3")
    assert launch.planned() == (4, 2)
