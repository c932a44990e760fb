"""Kill stages at random moments; after a rerun all digests must be those of an undisturbed run.

    python scripts/kills.py --kills 20 --seed 0

Run it in a checkout whose pipeline has run: `dvc.lock` holds the undisturbed digests. First each stage runs
once, to measure its time. Then a stage is chosen with a probability in proportion to its time, started again
without the caches of scores and runs, and killed by SIGKILL at a moment that is equally likely anywhere in
it. `dvc repro` then has to end with the same `dvc.lock`.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml


class Pipeline:
    """A checkout whose pipeline has run; `env`: the environment of its commands."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder, self.env = folder, env
        self.undisturbed = self.digests()

    def digests(self) -> dict[str, dict[str, str]]:
        """Return the digest of each output, by stage and path."""
        stages = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]
        return {name: {o["path"]: o["md5"] for o in stage.get("outs", [])} for name, stage in stages.items()}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `dvc repro` as the leader of a process group."""
        command = [sys.executable, "-m", "dvc", "repro", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.env,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start_anew(self, stage: str) -> subprocess.Popen[bytes]:
        """Start one stage whose result nothing remembers."""
        shutil.rmtree(self.folder / ".cache" / "evaluate", ignore_errors=True)
        return self.start("--force", "--single-item", "--no-run-cache", stage)

    def seconds(self, stage: str) -> float:
        """Run a stage anew, and return the time that it takes."""
        began = time.monotonic()
        if self.start_anew(stage).wait():
            raise SystemExit(f"error: {self.folder}: the stage {stage} fails without being killed")
        return time.monotonic() - began

    def kill(self, stage: str, after: float) -> bool:
        """Run a stage anew and kill it; return whether it was still running."""
        process = self.start_anew(stage)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        return False

    def recovers(self) -> bool:
        """Return whether `dvc repro` ends, with the digests of the undisturbed run."""
        return self.start("--no-run-cache").wait() == 0 and self.digests() == self.undisturbed


def torment(pipeline: Pipeline, seconds: Mapping[str, float], kills: int, seed: int) -> list[str]:
    """Kill `kills` times, print a line for each, and return the stages after which a digest was another.

    seconds: the time of each stage.
    """
    rng = random.Random(seed)
    failed = []
    for number in range(1, kills + 1):
        (stage,) = rng.choices(list(seconds), list(seconds.values()))
        after = rng.uniform(0, seconds[stage])
        running, same = pipeline.kill(stage, after), pipeline.recovers()
        print(
            f"kill {number}: {stage} after {after:.1f} of {seconds[stage]:.1f} s"
            f"{'' if running else ' (it had ended)'}: {'equal' if same else 'DIFFERENT'}",
            flush=True,
        )
        failed += [] if same else [stage]
    return failed


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, kill, and exit with 1 if a rerun did not give the same digests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    pipeline = Pipeline(Path.cwd(), os.environ)
    seconds = {stage: pipeline.seconds(stage) for stage in pipeline.undisturbed}
    failed = torment(pipeline, seconds, options.kills, options.seed)
    print(f"{options.kills - len(failed)} of {options.kills} equal")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
