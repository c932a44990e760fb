"""Conversion beside LitGPT's and beside `cat` on a full-size random Phi-2.

    make peers && python -m benchmarks.convert [--quick]

Each way is a process of its own, in turn; the page cache holds the source for all of them. `seconds` is
the conversion alone, without the imports of either tool; `process_seconds` the whole command. Ours ends
with fsync, the others do not. The tensors of both are compared. The last line is JSON.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from steadyphi.checkpoint import configs, layouts
from steadyphi.checkpoint.convert import open_writers
from steadyphi.files import write_json
from steadyphi.model_config import PhiConfig

PEERS = Path(".venv-peers/bin/python")
PHI_2 = PhiConfig(32, 32, 2560, 10240, 51200, 2048, 0.4, 10000.0, 1e-5, resid_pdrop=0.1)
QUICK = PhiConfig(2, 32, 2560, 10240, 51200, 2048, 0.4, 10000.0, 1e-5, resid_pdrop=0.1)
OURS = """
import sys, time
from pathlib import Path
from steadyphi.checkpoint.convert import convert
from steadyphi.files import atomic_dir
start = time.perf_counter()
with atomic_dir(Path(sys.argv[2])) as folder:
    convert(Path(sys.argv[1]), folder)
print(time.perf_counter() - start)
"""
# LitGPT converts in place and takes the shape from its own list of models.
LITGPT = """
import sys, time
from pathlib import Path
import litgpt.config
from litgpt.scripts.convert_hf_checkpoint import convert_hf_checkpoint
litgpt.config.name_to_config["phi-2"]["n_layer"] = int(sys.argv[3])
start = time.perf_counter()
convert_hf_checkpoint(Path(sys.argv[2]), model_name="phi-2")
print(time.perf_counter() - start)
"""


def make_phi(folder: Path, config: PhiConfig) -> None:
    """Write a random Phi of this shape in float16 as the Hub has it: shards of 5 GB, and an index."""
    folder.mkdir(parents=True)
    shapes = {name: ("float16", t.shape) for name, t in layouts.tensors(layouts.HUB, config).items()}
    block = np.random.default_rng(0).normal(0, 0.02, 1 << 24).astype(np.float16).tobytes()
    with open_writers(folder, layouts.HUB, shapes) as writers:
        for writer, fd in writers:
            for place in range(0, writer.size, len(block)):
                os.pwrite(fd, block[: writer.size - place], place)
            writer.finish(fd, {})
    write_json(folder / "config.json", configs.to_hub(config, 50256) | {"torch_dtype": "float16"})


def measure(command: list[str]) -> dict[str, float]:
    """Run a command; return its seconds (as it prints them, else the whole), and its peak memory in MB."""
    os.sync()  # what an earlier way has left to write is not this one's
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = {"RssAnon": 0, "VmHWM": 0}
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    out, error = process.communicate()
    whole = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{command[0]}: {error.strip().splitlines()[-1]}")
    lines = out.strip().splitlines()
    return {
        "seconds": float(lines[-1]) if lines else whole,
        "process_seconds": whole,
        "anonymous_mb": peak["RssAnon"] / 1000,
        "resident_mb": peak["VmHWM"] / 1000,
    }


def _watch(pid: int, peak: dict[str, int]) -> None:
    """Note the largest memory figures that the kernel gives for a process, 50 times a second."""
    path = Path(f"/proc/{pid}/status")
    while True:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            return
        for line in lines:
            key, _, value = line.partition(":")
            if key in peak:
                peak[key] = max(peak[key], int(value.split()[0]))
        time.sleep(0.02)


def run_ours(source: Path, work: Path) -> dict[str, float]:
    target = work / "ours"
    shutil.rmtree(target, ignore_errors=True)
    return measure([sys.executable, "-c", OURS, str(source), str(target)])


def run_litgpt(source: Path, work: Path, layers: int) -> dict[str, float]:
    target = work / "litgpt"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).hardlink_to(path)
    return measure([str(PEERS), "-c", LITGPT, str(source), str(target), str(layers)])


def run_cat(source: Path, work: Path) -> dict[str, float]:
    (work / "copy").unlink(missing_ok=True)
    shards = " ".join(f"'{path}'" for path in sorted(source.glob("*.safetensors")))
    return measure(["sh", "-c", f"cat {shards} > '{work}/copy'"])


def same_tensors(work: Path) -> int:
    """Return how many tensors both checkpoints have; all must be equal bit by bit."""
    import torch

    ours = torch.load(work / "ours" / "lit_model.pth", mmap=True, weights_only=True)
    theirs = torch.load(work / "litgpt" / "lit_model.pth", mmap=True, weights_only=True)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    return len(ours)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two layers instead of 32")
    parser.add_argument("--work", type=Path, help="a folder with 18 GB of room (a temporary one by default)")
    options = parser.parse_args()
    if not PEERS.exists():
        sys.exit(f"error: {PEERS}: not found; make peers installs LitGPT into it")
    config = QUICK if options.quick else PHI_2
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        source = work / "source"
        make_phi(source, config)
        ways = {
            "steadyphi": lambda: run_ours(source, work),
            "litgpt": lambda: run_litgpt(source, work, config.n_layer),
            "cat": lambda: run_cat(source, work),
        }
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for _ in range(3):
            for name, way in ways.items():
                runs[name].append(way())
                print(name, {key: round(value, 2) for key, value in runs[name][-1].items()}, file=sys.stderr)
        tensors = same_tensors(work)
    result: dict[str, Any] = {"tensors_equal": tensors}
    for key in ("seconds", "process_seconds", "anonymous_mb", "resident_mb"):
        result[key] = {
            name: round(statistics.median(r[key] for r in found), 2) for name, found in runs.items()
        }
    seconds = result["seconds"]
    result["vs_copy"] = round(seconds["steadyphi"] / seconds["cat"], 2)
    result["vs_litgpt"] = round(seconds["steadyphi"] / seconds["litgpt"], 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
