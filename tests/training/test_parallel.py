"""Two processes on this machine's CPU train as one does: FSDP2 for all weights, DDP for adapters."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.conftest import ROOT

STEPS = 21
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def start(folder: Path, method: str, processes: int, seconds: float = -1.0) -> subprocess.Popen[str]:
    """Start a run without dropout, for what it drops depends on the process."""
    folder.mkdir(exist_ok=True)
    launcher = [] if processes == 1 else [*TORCHRUN, str(processes)]
    command = [sys.executable, *launcher, "-m", "tests.training.program", str(folder), method, str(seconds)]
    return subprocess.Popen(
        command, env=ENV, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]


def losses(folder: Path) -> list[float]:
    history: dict[str, Any] = json.loads((folder / "curve.json").read_text())
    return [
        loss for row in history["rows"] for loss in (row["train_loss"], row["valid_loss"]) if loss is not None
    ]


def same(folder: Path, expected: Path) -> None:
    assert losses(folder) == pytest.approx(losses(expected), abs=1e-5)
    assert losses(folder)[0] == pytest.approx(losses(expected)[0], abs=1e-6)  # nothing has added up yet
    weights, others = torch.load(folder / "weights.pt"), torch.load(expected / "weights.pt")
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        difference = (tensor - others[name]).abs()
        if name.endswith("qkv.bias"):  # the keys' shifts all scores alike: its gradient is rounding alone
            difference.view(3, -1)[1] = 0
        # Where a gradient is next to nothing, AdamW turns rounding into steps of their own.
        assert (difference > 1e-4).float().mean() < 0.01, name


@pytest.mark.slow
@pytest.mark.parametrize(("method", "steps"), [("full", STEPS), ("lora", STEPS), ("consistent", 10)])
def test_two_are_as_good_as_one(method: str, steps: int, tmp_path: Path) -> None:
    for processes in (1, 2):
        finish(start(tmp_path / str(processes), method, processes))
    assert len(losses(tmp_path / "1")) > steps
    same(tmp_path / "2", tmp_path / "1")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_one_of_two_is_killed_and_one_or_three_go_on(method: str, tmp_path: Path) -> None:
    """First two processes, one of which dies; then three, which are asked to stop; then one."""
    finish(start(tmp_path / "whole", method, 1))
    folder = tmp_path / "broken"
    process = start(folder, method, 2, seconds=-0.2)
    wait_for(folder, 4)
    workers = [
        p
        for p in psutil.Process(process.pid).children(recursive=True)
        if "tests.training" in " ".join(p.cmdline())
    ]
    workers[-1].send_signal(signal.SIGKILL)
    process.communicate(timeout=100)
    assert process.returncode != 0
    after = newest(folder)
    assert 4 <= after < STEPS
    process = start(folder, method, 3, seconds=-0.2)
    wait_for(folder, after + 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)
    assert process.returncode != 0 and after + 2 <= newest(folder) < STEPS
    finish(start(folder, method, 1))
    same(folder, tmp_path / "whole")


@pytest.mark.slow
def test_two_machines_of_two_processes_are_as_good_as_one(tmp_path: Path) -> None:
    """Each machine holds all weights, sharded over its processes, as torchrun's variables tell of it."""
    finish(start(tmp_path / "1", "full", 1))
    folder = tmp_path / "2x2"
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "tests.training.program", str(folder), "full", "-1.0"]
    processes = [
        subprocess.Popen(
            command,
            env=ENV | group | {"RANK": str(rank), "LOCAL_RANK": str(rank % 2)},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(4)
    ]
    for process in processes:
        finish(process)
    same(folder, tmp_path / "1")


def newest(folder: Path) -> int:
    return max((int(p.name.removeprefix("step-")) for p in (folder / "state").glob("step-*")), default=0)


def wait_for(folder: Path, step: int) -> None:
    until = time.monotonic() + 100
    while newest(folder) < step:
        assert time.monotonic() < until
        time.sleep(0.05)
