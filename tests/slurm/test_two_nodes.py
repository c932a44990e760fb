"""The Slurm script of docs/clusters.md on two nodes: interrupted at any stage, it ends as an undisturbed run.

The nodes are two daemons on this machine with one process each; `make slurm` runs these tests.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import ROOT
from tests.pipeline.conftest import SMALL, Project, make_project, stages_run
from tests.slurm import cluster as slurm
from tests.slurm.cluster import Cluster

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(slurm.missing() is not None, reason=str(slurm.missing())),
]
ANEW = ("dvc", "repro", "--force", "--single-item", "--no-run-cache")
PREPARE = SMALL["prepare"] | {"valid": 4, "items": 12}
FINETUNE = {"lr": 1e-3, "epochs": 4, "batch_tokens": 256, "evals_per_epoch": 1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with slurm.started() as running:
        yield running


@pytest.fixture(scope="module")
def project(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with its data prepared, in which commands of Slurm work, and the documented script."""
    made = make_project(tmp_path_factory.mktemp("project") / "p", prepare=PREPARE, finetune=FINETUNE)
    made.repro("prepare")
    # The names of the nodes cannot be looked up.
    made.env |= cluster.env | {"PATH": f"{made.env['PATH']}:/usr/sbin", "MASTER_ADDR": "127.0.0.1"}
    (made.folder / "job.sh").write_text(documented())
    return made


def documented() -> str:
    """Return the script of docs/clusters.md, for nodes of one process and no GPU."""
    page = (ROOT / "docs" / "clusters.md").read_text()
    (script,) = re.findall(r"^```sh\n(#!/bin/sh.*?)^```", page, re.DOTALL | re.MULTILINE)
    for ours, here in (
        ("--ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8", "--ntasks-per-node=1"),
        (". .venv/bin/activate\n", ""),
    ):
        assert ours in script
        script = script.replace(ours, here)
    return script


def submit(project: Project, *arguments: str) -> str:
    """Submit the script, with words for `dvc repro`, and return the job's number."""
    return project.run("sbatch", "--parsable", "job.sh", *arguments).stdout.strip()


def output_of(project: Project, job: str) -> str:
    path = project.folder / f"slurm-{job}.out"
    return path.read_text() if path.exists() else ""


def until(condition: Callable[[], bool], cluster: Cluster, project: Project, job: str) -> None:
    end = time.monotonic() + 500
    while not condition():
        log = output_of(project, job)
        assert time.monotonic() < end and "ERROR" not in log, log + cluster.logs()
        time.sleep(0.1)


def outputs(project: Project, *stages: str) -> dict[str, object]:
    return {stage: project.lock()[stage]["outs"] for stage in stages}


def trains(project: Project) -> bool:
    """Return whether a run of training has validated, and not ended."""
    return any(project.folder.glob(".cache/finetune/*/best-*"))


def test_requeued_it_resumes_and_trains_once(cluster: Cluster, project: Project) -> None:
    """FSDP2 over both nodes, requeued while it trains and while it evaluates."""
    stages = ("finetune", "evaluate@base")
    job = submit(project, *stages)
    until(lambda: trains(project), cluster, project, job)
    cluster.requeue(job)
    until(lambda: "Running stage 'evaluate@base'" in output_of(project, job), cluster, project, job)
    time.sleep(3)  # it loads the model, or asks
    cluster.requeue(job)
    cluster.wait(job, "COMPLETED")
    log = output_of(project, job)
    assert [stages_run(part) for part in re.split(rf"JOB {job} ON .* DUE TO JOB REQUEUE", log)] == [
        ["finetune"],
        ["finetune", "evaluate@base"],
        ["evaluate@base"],
    ]
    digests = outputs(project, *stages)
    assert cluster.steps("n1", job) == cluster.steps("n2", job) >= 3

    shutil.rmtree(project.folder / ".cache")
    project.run(*ANEW, "finetune", STEADYPHI_NPROC="2")
    project.run(*ANEW, "evaluate@base")
    assert outputs(project, *stages) == digests


def test_the_next_of_a_chain_goes_on(cluster: Cluster, project: Project) -> None:
    """DDP over both nodes; the first job is asked to stop, and the second was waiting for it."""
    project.params(method="lora")
    first, second = (submit(project, "finetune") for _ in range(2))
    until(lambda: trains(project), cluster, project, first)
    assert cluster.state(second) == "PENDING"
    cluster.run("scancel", "--signal=TERM", first)
    cluster.wait(second, "COMPLETED")
    assert "stopped: finetune, saved after step" in output_of(project, first)
    assert cluster.state(first) == "FAILED"
    digests = outputs(project, "finetune")
    project.run(*ANEW, "finetune", STEADYPHI_NPROC="2")
    assert outputs(project, "finetune") == digests
