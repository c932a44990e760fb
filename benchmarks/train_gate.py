"""What the processes of `benchmarks.train` share: their job, and the gate between two blocks of steps.

A side trains by its own loop, from the first step to the last. After each block of steps it stops at the
gate, writes a line of JSON about the block to stdout, and waits there for a line on stdin while another side
computes. Knows neither steadyphi nor any peer, for it runs in both environments.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Job:
    """One training run. An example is its tokens, and how many of them are prompt; a step lists examples.

    rank: of LoRA's adapters, 0 for full fine-tuning. micro: examples in a micro-batch, which divides each
    step (TRL packs its own). block: steps between two gates. Everything else is alike for all sides: AdamW
    with betas 0.9 and 0.95, eps 1e-8, no decay, one learning rate, no clipping that bites, no dropout.
    """

    lit: str
    hub: str
    examples: list[tuple[list[int], int]]
    steps: list[list[int]]
    block: int
    micro: int
    rank: int
    device: str
    threads: int
    lr: float
    checkpointing: bool = False

    def in_order(self) -> list[tuple[list[int], int]]:
        """Return the examples of all steps, one after the other."""
        return [self.examples[i] for step in self.steps for i in step]


class Gate:
    """Where a side stops between two blocks, and tells how the last went."""

    def __init__(self, job: Job) -> None:
        self.job, self.losses, self.done, self.began = job, [], 0, 0.0
        # Libraries print what they like: their stdout becomes stderr.
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def open(self, steps: list[list[int]] | None = None) -> None:
        """Everything is loaded; wait for the first block. steps: those it will take, if it made its own."""
        self._meet({"steps": steps})

    def step(self, loss: Any) -> None:
        """A step is done whose mean loss over its supervised tokens this is."""
        self.losses.append(float(loss))
        self.done += 1
        if len(self.losses) < self.job.block:
            return
        self._wait_for_device()
        seconds = time.perf_counter() - self.began
        losses, self.losses = self.losses, []
        self._meet({"seconds": seconds, "losses": losses, "peak_mb": peak_mb(self.job.device)})

    def _meet(self, report: dict[str, Any]) -> None:
        print(json.dumps(report), file=self.out, flush=True)
        if not sys.stdin.readline():  # nobody waits for more
            os._exit(0)
        self._wait_for_device()
        self.began = time.perf_counter()

    def _wait_for_device(self) -> None:
        if self.job.device == "cuda":
            torch.cuda.synchronize()


def start() -> tuple[Job, Gate]:
    """Read the job that the command line names; return it with its gate."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    torch.set_num_threads(job.threads)
    return job, Gate(job)


def peak_mb(device: str) -> float:
    """Return the most memory that this process held: allocated on the GPU, else resident."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1e3


def first_a(layer: int, part: str, rank: int, width: int) -> torch.Tensor:
    """Return adapter A (rank, width) of a layer's part as every side begins with it; B is zero."""
    generator = torch.Generator().manual_seed(layer * 31 + sum(map(ord, part)))
    return (2 * torch.rand(rank, width, generator=generator) - 1) / width**0.5
