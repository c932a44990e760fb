"""Who works beside this process, by processes that look like DVC's workers."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from steadyphi.runtime.workers import queue_place
from tests.conftest import ROOT

# As `dvc exp queue-worker NAME` is started: it runs the stage as a child.
STAGE = "from steadyphi.runtime.workers import queue_place; input(); print(*queue_place())"
WORKER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STAGE!r}])"


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[str]]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, "exp", "queue-worker", f"{name}@localhost", "--clean"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("dvc-exp-0a1b2c-1", "dvc-exp-0a1b2c-3", "dvc-exp-9f9f9f-1")
    ]
    yield started
    for process in started:
        process.communicate()


def test_outside_a_queue() -> None:
    assert queue_place() == (0, 1)


def test_each_worker_counts_those_of_its_repository(workers: list[subprocess.Popen[str]]) -> None:
    second_of_two, alone = (answer(workers[n]) for n in (1, 2))
    assert second_of_two == "1 2\n" and alone == "0 1\n"


def answer(worker: subprocess.Popen[str]) -> str:
    """Let the worker's stage look around, and return what it prints."""
    assert worker.stdin and worker.stdout
    worker.stdin.write("\n")
    worker.stdin.flush()
    return worker.stdout.readline()
