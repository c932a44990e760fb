"""Training beside transformers' Trainer, LitGPT and TRL: the same weights and data, losses compared.

    make peers && python -m benchmarks.train [--quick] [--shared ../shared]

On the CPU, a random Phi of 77,691,904 parameters in bfloat16 (autocast over float32 weights, for LoRA over a
frozen base in bfloat16), each side by its own training loop in a process of its own, blocks of steps in turn:
equal tokens without padding; and supervised tokens of GSM8K's train set, full and LoRA, in steps of 16
examples, LitGPT and the Trainer at the micro-batch that suits each best, TRL in the steps that its packing
makes. LitGPT's step is the mean of its micro-batches' means, so its losses are compared where a step is one
micro-batch. Peers have an adapter A each for q, k and v, all with the first values of our one.

    python -m benchmarks.train --device cuda [--peers PYTHON]

Random weights of the shapes of Phi-2 and Phi-1.5 on one GPU, texts of 2,048 tokens, beside the Trainer and
peft: tokens/s, peak memory, and the share of the card's arithmetic. --quick runs this on the CPU with a tiny
shape. The last line is JSON.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.convert import PEERS, PHI_2
from benchmarks.score import MID
from benchmarks.train_card import card, parameters
from benchmarks.train_gate import Job
from benchmarks.train_material import PHI_15, TINY, gsm8k, make, rows
from benchmarks.train_sides import Run, Side, SideFailed, alternate, difference, one_by_one
from steadyphi.model_config import PhiConfig
from steadyphi.settings.groups import Full
from steadyphi.training.flops import flops_per_step

CLOSE = 0.02  # nats; bfloat16 has three digits of a loss of eleven, and rounding adds up over the steps
TOGETHER = 16  # examples in a step of GSM8K, LitGPT's default
RANK = 8
RATE = {0: 1e-5, RANK: 1e-4}
# Of each shape: LoRA's rank, 0 for full, and the texts in a micro-batch, ours and transformers', which by
# estimate has no room for two beside all of Phi-2 on 80 GB.
REAL = [("phi-2", PHI_2, [(0, 2, 1), (RANK, 4, 4)]), ("phi-1.5", PHI_15, [(0, 4, 4), (RANK, 4, 4)])]
REAL_TINY = [("tiny", TINY, [(0, 2, 1), (RANK, 4, 4)])]


def supervised(job: Job, steps: list[list[int]]) -> int:
    """Return how many tokens of these steps carry a loss."""
    return sum(len(job.examples[i][0]) - max(job.examples[i][1], 1) for step in steps for i in step)


def summary(job: Job, runs: dict[str, Run]) -> dict[str, Any]:
    """Return rates, ratios and memory of all sides that took the steps of `job`."""
    ours = runs["steadyphi"]
    starts = range(job.block, len(job.steps), job.block)
    work = [supervised(job, job.steps[n : n + job.block]) for n in starts]
    return {
        "supervised_tokens_per_s": {
            name: round(statistics.median(w / s for w, s in zip(work, run.seconds, strict=False)))
            for name, run in runs.items()
        },
        "peak_mb": {name: round(run.peak_mb) for name, run in runs.items()},
        **{
            f"vs_{name}": round(
                statistics.median(b / a for a, b in zip(ours.seconds, run.seconds, strict=True)), 2
            )
            for name, run in runs.items()
            if run is not ours
        },
    }


def checked(ours: Run, others: dict[str, Run]) -> dict[str, float]:
    """Return how far each side's losses are from ours; all have to be close."""
    found = {name: difference(ours, run) for name, run in others.items()}
    assert all(value < CLOSE for value in found.values()), f"the losses differ: {found}"
    return {name: round(value, 5) for name, value in found.items()}


def equal_tokens(job: Job, peers: Path) -> dict[str, Any]:
    """Whole rows, nothing to pad or to pack."""
    runs = alternate({name: job for name in ("steadyphi", "transformers", "litgpt")}, peers)
    others = {name: run for name, run in runs.items() if name != "steadyphi"}
    return summary(job, runs) | {"largest_loss_difference": checked(runs["steadyphi"], others)}


def best_micro(name: str, job: Job, sizes: list[int], peers: Path) -> tuple[int, Run]:
    """Return the micro-batch with which a side is quickest, and its run with the whole step as one."""
    runs = {}
    for micro in sizes:
        short = dataclasses.replace(job, micro=micro, steps=job.steps[:3], block=1)
        runs[micro] = alternate({name: short}, peers)[name]
        print(f"{name}, {micro} together: {runs[micro].seconds}", file=sys.stderr, flush=True)
    return min(runs, key=lambda m: sum(runs[m].seconds)), runs[job.micro]


def real_data(job: Job, sizes: list[int], peers: Path) -> dict[str, Any]:
    """Examples of all lengths, whose prompts are not learnt; sizes: the micro-batches that peers try."""
    micros, whole = {"steadyphi": job.micro}, {}
    for name in ("litgpt", "transformers"):
        micros[name], whole[name] = best_micro(name, job, sizes, peers)
    jobs = {name: dataclasses.replace(job, micro=micro) for name, micro in micros.items()}
    runs = alternate(jobs, peers)
    found = summary(job, runs) | {"micro_batch": micros}
    theirs = whole | {"transformers, its best": runs["transformers"]}
    found["largest_loss_difference"] = checked(runs["steadyphi"], theirs)
    return found | {"trl": beside_trl(job, peers)}


def beside_trl(job: Job, peers: Path) -> dict[str, Any]:
    """The same examples in the steps that TRL's packing makes."""
    asking = Side("trl", job, peers)
    asking.close()
    largest = max(len(step) for step in asking.steps)
    steps = asking.steps[: len(asking.steps) // job.block * job.block]
    own = dataclasses.replace(job, steps=steps, micro=largest)
    runs = alternate({"steadyphi": own, "trl": own}, peers)
    return summary(own, runs) | {"largest_loss_difference": checked(runs["steadyphi"], {"trl": runs["trl"]})}


def real_shape(config: PhiConfig, jobs: dict[str, Job], peers: Path, peak: float | None) -> dict[str, Any]:
    """A whole Phi beside the Trainer; peak: TFLOP/s of the card, for the share of it that is used."""
    runs = one_by_one(jobs, peers, rounds=2)
    job = jobs["steadyphi"]
    length = len(job.examples[0][0])
    tokens = job.block * len(job.steps[0]) * length
    found: dict[str, Any] = {}
    for name, run in runs.items():
        if isinstance(run, str):
            found[name] = run
            continue
        rate = tokens / run.median
        found[name] = {"tokens_per_s": round(rate), "peak_mb": round(run.peak_mb)}
        if peak and not job.rank:
            work = flops_per_step(config, [length], length - 1, Full("full")) / length
            found[name]["mfu"] = round(rate * work / peak / 1e12, 3)
        if run.checkpointing:
            found[name]["with"] = "gradient checkpointing, for want of memory"
    ours, theirs = runs["steadyphi"], runs["transformers"]
    if isinstance(ours, Run) and isinstance(theirs, Run):
        found["vs_transformers"] = round(theirs.median / ours.median, 2)
        found["largest_loss_difference"] = checked(ours, {"transformers": theirs})
    return found


def real_shapes(options: argparse.Namespace) -> dict[str, Any]:
    """Phi-2 and Phi-1.5 on the card; with --quick a tiny one on the CPU."""
    cuda = options.device == "cuda"
    found: dict[str, Any] = card() if cuda else {}
    texts = rows(64, 2048) if cuda else rows(32, 64)
    for name, config, plans in REAL if cuda else REAL_TINY:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            folders = make(Path(folder), dataclasses.replace(config, resid_pdrop=0.0), None)
            for rank, *micros in plans:
                job = job_of(options, folders, texts, rank, each=8, block=2)
                jobs = {
                    side: dataclasses.replace(job, micro=micro)
                    for side, micro in zip(("steadyphi", "transformers"), micros, strict=True)
                }
                key = f"{name}, {'LoRA' if rank else 'full'}"
                found[key] = real_shape(config, jobs, options.peers, found.get("datasheet_tflops"))
                print(key, found[key], file=sys.stderr, flush=True)
    return found


def job_of(
    options: argparse.Namespace,
    folders: tuple[Path, Path],
    examples: list[tuple[list[int], int]],
    rank: int,
    each: int,
    block: int,
) -> Job:
    """Return the job of taking the examples in their order, `each` a step, as many steps as fill blocks."""
    count = len(examples) // each // block * block
    steps = [list(range(n * each, (n + 1) * each)) for n in range(count)]
    lit, hub = map(str, folders)
    return Job(lit, hub, examples, steps, block, each, rank, options.device, 2, RATE[rank])


def on_cpu(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A small Phi beside all three."""
    config, length, blocks = (TINY, 128, 3) if options.quick else (MID, 512, 6)
    tokenizer = options.shared / "hub" / "phi-2"
    folders = make(folder, config, tokenizer)
    found: dict[str, Any] = {"parameters": parameters(config)}
    job = job_of(options, folders, rows(4 * 2 * blocks, length), 0, each=4, block=2)
    found["equal tokens, full"] = equal_tokens(job, options.peers)
    print(found, file=sys.stderr, flush=True)
    together, sizes = (4, [4]) if options.quick else (TOGETHER, [1, 2, 4, 8, 16])
    examples = gsm8k(options.shared, tokenizer, 16 * 2 * blocks)  # a step of TRL's holds more than 16 of them
    for name, rank in (("LoRA", RANK),) if options.quick else (("full", 0), ("LoRA", RANK)):
        job = job_of(options, folders, examples, rank, each=together, block=2)
        job = dataclasses.replace(job, steps=job.steps[: 2 * blocks])
        found[f"GSM8K, {name}"] = real_data(job, sizes, options.peers)
        print(name, found[f"GSM8K, {name}"], file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny shapes, few steps")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(%(default)s)")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder of the real data sets")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the peers' Python (%(default)s)")
    parser.add_argument("--work", type=Path, help="a folder with 12 GB of room (a temporary one by default)")
    options = parser.parse_args()
    if not options.peers.exists():
        sys.exit(f"error: {options.peers}: not found; make peers installs the peers into it")
    found: dict[str, Any] = {}
    try:
        if options.device == "cuda" or options.quick:
            found |= real_shapes(options)
        if options.device == "cpu" and not (options.shared / "data").is_dir():
            print(f"benchmarks.train: beside GSM8K skipped: no {options.shared / 'data'} (--shared)")
        elif options.device == "cpu":
            with tempfile.TemporaryDirectory(dir=options.work) as folder:
                found |= on_cpu(options, Path(folder))
    except SideFailed as error:
        sys.exit(f"error: {error}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
