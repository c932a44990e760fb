"""A full-size random Phi-2 as a GGUF file in float16, beside `cat` of the same bytes.

    python -m benchmarks.export [--quick] [--work FOLDER]

Each way is a process of its own, in turn; the page cache holds the source for both, and neither waits for the
disk. `seconds` is the export alone, without imports; `anonymous_mb` is its own memory, without the mapped
source. Some tensors of the file are compared with the source, bit by bit. The last line is JSON.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.convert import PHI_2, QUICK, make_phi, measure, run_cat
from steadyphi.checkpoint.convert import source_runs
from steadyphi.checkpoint.gguf_file import load_package
from steadyphi.checkpoint.source import open_folder

TINY = Path("assets/phi-tiny")
OURS = """
import sys, time
from pathlib import Path
from steadyphi.checkpoint import gguf_file
start = time.perf_counter()
gguf_file.write(Path(sys.argv[1]), Path(sys.argv[2]), "f16", "phi-2")
print(time.perf_counter() - start)
"""
COMPARED = {
    "token_embd.weight": "model.embed_tokens.weight",
    "blk.1.ffn_up.weight": "model.layers.1.mlp.fc1.weight",
    "output.weight": "lm_head.weight",
}


def export(source: Path, target: Path) -> dict[str, float]:
    target.unlink(missing_ok=True)
    return measure([sys.executable, "-c", OURS, str(source), str(target)])


def same_tensors(source: Path, target: Path) -> int:
    """Return how many tensors were compared; all must be equal bit by bit."""
    tensors = {tensor.name: tensor for tensor in load_package().GGUFReader(target).tensors}
    parts = source_runs(open_folder(source))
    for theirs, part in COMPARED.items():
        (run,) = parts[part]
        expected = np.memmap(run.path, np.float16, "r", run.offset, (run.nbytes // 2,))
        assert np.array_equal(tensors[theirs].data.reshape(-1), expected), theirs
    return len(COMPARED)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two layers instead of 32")
    parser.add_argument("--repeats", type=int, default=3, help="of each way (%(default)s)")
    parser.add_argument("--work", type=Path, help="a folder with 18 GB of room (a temporary one by default)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        source, target = work / "source", work / "model.gguf"
        make_phi(source, QUICK if options.quick else PHI_2)
        for path in TINY.glob("*token*.json"):
            shutil.copyfile(path, source / path.name)
        ways = {"steadyphi": lambda: export(source, target), "cat": lambda: run_cat(source, work)}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, way in ways.items():
                runs[name].append(way())
                print(name, {key: round(value, 2) for key, value in runs[name][-1].items()}, file=sys.stderr)
        result: dict[str, object] = {"tensors_equal": same_tensors(source, target)}
        result["bytes"] = target.stat().st_size
    seconds = {name: statistics.median(run["seconds"] for run in found) for name, found in runs.items()}
    result["seconds"] = {name: round(value, 2) for name, value in seconds.items()}
    result["anonymous_mb"] = round(statistics.median(run["anonymous_mb"] for run in runs["steadyphi"]), 1)
    result["vs_copy"] = round(seconds["steadyphi"] / seconds["cat"], 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
