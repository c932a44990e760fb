"""Two fine-tunings on the same cores beside one alone: how much do they slow each other down?

    python -m benchmarks.together [--steps 20] [--repeats 3]

Each is a process that trains a random model of phi-tiny's shape with two threads, as the pipeline does. Only
the steps are timed, and all processes begin together. The target is at most 2.3 times the time of one.
`OMP_WAIT_POLICY=active` shows what happens if OpenMP's threads wait by spinning.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TARGET = 2.3


def worker(steps: int) -> None:
    """Train when a line arrives on stdin."""
    from dataclasses import replace

    import torch

    from benchmarks.phi_tiny import ASSETS, settings
    from steadyphi.data.packing import Example
    from steadyphi.model import Phi
    from steadyphi.model_config import PhiConfig
    from steadyphi.runtime.device import make_repeatable, pick_dtype
    from steadyphi.training.loop import fit

    chosen = replace(settings().finetune, max_steps=steps + 2, samples=0)
    make_repeatable(0, chosen.threads)
    model = Phi(PhiConfig.from_folder(Path(ASSETS)))
    model.init_weights(torch.Generator().manual_seed(0))
    rng = random.Random(0)
    examples = [
        Example([rng.randrange(1000) for _ in range(length)], length // 2)
        for length in (rng.randint(40, 140) for _ in range(500))
    ]
    dtype = pick_dtype(chosen.precision, torch.device("cpu"))
    fit(model, examples, [], replace(chosen, max_steps=2), dtype)  # warm up
    print("ready", flush=True)
    sys.stdin.readline()
    fit(model, examples, [], replace(chosen, max_steps=steps), dtype)


def seconds(count: int, steps: int) -> float:
    """Return the time from the common start of `count` processes to the end of the last."""
    command = [sys.executable, "-m", "benchmarks.together", "--worker", "--steps", str(steps)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    workers = [subprocess.Popen(command, env=env, **pipes) for _ in range(count)]
    for each in workers:
        assert each.stdout and each.stdout.readline() == b"ready\n"
    start = time.perf_counter()
    for each in workers:
        assert each.stdin
        each.stdin.write(b"\n")
        each.stdin.flush()
    codes = [each.wait() for each in workers]
    assert not any(codes), codes
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        return worker(options.steps)
    times = [[seconds(count, options.steps) for count in (1, 2)] for _ in range(options.repeats)]
    alone, together = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = together / alone
    print(f"one {alone:.1f} s, two at once {together:.1f} s: {ratio:.2f} times (target: at most {TARGET})")
    return None


if __name__ == "__main__":
    main()
