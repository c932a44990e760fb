"""The sides of `benchmarks.train` as processes of their own, of which one computes at a time."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.train_gate import Job

MODULES = {
    "steadyphi": ["benchmarks.train_ours"],
    "litgpt": ["benchmarks.train_litgpt"],
    "transformers": ["benchmarks.train_transformers"],
    "trl": ["benchmarks.train_transformers", "trl"],
}


class SideFailed(Exception):
    """A side ended before its work was done; the last line that it wrote."""


@dataclass
class Run:
    """What one side did: seconds of each block after the first, which warms up, and the loss of each step."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    checkpointing: bool = False

    @property
    def median(self) -> float:
        """Median seconds of a block."""
        return statistics.median(self.seconds)


class Side:
    """A process with its model loaded, waiting for its turn."""

    def __init__(self, name: str, job: Job, peers: Path) -> None:
        self.name, self.run = name, Run(checkpointing=job.checkpointing)
        self.folder = tempfile.TemporaryDirectory()
        path, self.log = Path(self.folder.name, "job.json"), Path(self.folder.name, "log")
        path.write_text(json.dumps(dataclasses.asdict(job)))
        module, *rest = MODULES[name]
        python = sys.executable if name == "steadyphi" else str(peers)
        surroundings = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, "-m", module, str(path), *rest],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=surroundings,
            )  # fmt: skip
        self.steps = self._hear()["steps"] or job.steps

    def go(self) -> None:
        """Let it compute the next block."""
        assert self.process.stdin
        print(file=self.process.stdin, flush=True)
        report = self._hear()
        if self.run.losses:
            self.run.seconds.append(report["seconds"])
        self.run.losses += report["losses"]
        self.run.peak_mb = report["peak_mb"]

    def close(self) -> None:
        """End it, at the gate or wherever it is."""
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            said = self.log.read_text().strip().splitlines()
            self.close()
            raise SideFailed(f"{self.name}: {said[-1] if said else self.process.returncode}")
        return json.loads(line)


def alternate(jobs: dict[str, Job], peers: Path) -> dict[str, Run]:
    """Run the blocks of all jobs in turn; all models are loaded at the same time."""
    sides: list[Side] = []
    try:
        for name, job in jobs.items():
            sides.append(Side(name, job, peers))
        for _ in range(min(len(side.steps) // jobs[side.name].block for side in sides)):
            for side in sides:
                side.go()
        return {side.name: side.run for side in sides}
    finally:
        for side in sides:
            side.close()


def one_by_one(jobs: dict[str, Job], peers: Path, rounds: int) -> dict[str, Run | str]:
    """Run whole jobs in turn, where there is memory for one alone; a side that fails says why.

    A side that has not memory enough starts again with gradient checkpointing.
    """
    found: dict[str, Run | str] = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            before = found.get(name)
            if isinstance(before, str):
                continue
            try:
                run = alternate({name: job}, peers)[name]
            except SideFailed as error:
                if "OutOfMemory" in str(error) and not job.checkpointing:
                    jobs = jobs | {name: dataclasses.replace(job, checkpointing=True)}
                found[name] = str(error)
                continue
            if before is not None:
                run.seconds += before.seconds
            found[name] = run
    return found


def difference(one: Run, other: Run) -> float:
    """Return the largest difference between the losses of the steps that both took."""
    return max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=False))
