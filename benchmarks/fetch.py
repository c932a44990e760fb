"""Fetching a checkpoint beside huggingface_hub.snapshot_download, from one Hub on the loopback.

    python -m benchmarks.fetch [--quick] [--folder FOLDER]

Both take the same random files over plain HTTP, in turn, each in a process of its own and into a
fresh folder; what arrived is compared with what was served. Ours hashes every byte, theirs none.
Starting Python and importing are not timed, for either. The server is a third process.
The last line is JSON: median seconds, the ratio ours / theirs.
"""

import argparse
import contextlib
import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

REPO, COMMIT = "microsoft/phi-2", "ef382358ec9e382308935a992d908de099b64c23"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
SIZES = (4_995_584_424, 563_832_976)  # Phi-2's
QUICK_SIZES = (180_000_000, 20_000_000)
SMALL = {"config.json": 735, "tokenizer.json": 2_114_924, "vocab.json": 798_156, "merges.txt": 456_318}


def make(folder: Path, sizes: tuple[int, ...]) -> int:
    """Write the files of a checkpoint, random but for the index; return their size together."""
    folder.mkdir()
    for name, size in {**dict(zip(SHARDS, sizes, strict=True)), **SMALL}.items():
        with (folder / name).open("wb") as file:
            for start in range(0, size, 1 << 24):
                file.write(os.urandom(min(1 << 24, size - start)))
    index = {"weight_map": {f"tensor.{i}": name for i, name in enumerate(SHARDS)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return sum(path.stat().st_size for path in folder.iterdir())


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the folder from another process and yield the address."""
    command = [sys.executable, "-m", "tests.pipeline.loopback_hub", str(folder), REPO, COMMIT]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


def fetch_once(tool: str, target: Path) -> None:
    """Fetch into `target` and print the seconds it took; HF_ENDPOINT says from where."""
    if tool == "steadyphi":
        from steadyphi.hub import (
            fetch,
            partials,  # noqa: F401  # imports all that a fetch needs
        )

        (target / "files").mkdir(parents=True)
        start = time.perf_counter()
        fetch.fetch(REPO, COMMIT, target / "files", target / "cache")
    else:
        from huggingface_hub import snapshot_download

        start = time.perf_counter()
        snapshot_download(REPO, revision=COMMIT, local_dir=target / "files")
    print(time.perf_counter() - start)


def timed(tool: str, endpoint: str, source: Path, target: Path) -> float:
    """Fetch in a process of its own, compare with the source, and return the seconds."""
    hf = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    env = os.environ | hf | {"HF_ENDPOINT": endpoint, "HF_HOME": str(target / "home")}
    command = [sys.executable, "-m", "benchmarks.fetch", "--one", tool, str(target)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    names = sorted(path.name for path in source.iterdir())
    _, differ, errors = filecmp.cmpfiles(source, target / "files", names, shallow=False)
    assert not differ and not errors, f"{tool}: {differ or errors} did not arrive as served"
    shutil.rmtree(target)
    os.sync()  # so that the next does not wait for this one's bytes
    return float(done.stdout)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 MB instead of Phi-2's 5.56 GB")
    parser.add_argument("--folder", type=Path, help="where to put the files; the system's temporary folder")
    parser.add_argument("--one", nargs=2, metavar=("TOOL", "TARGET"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        fetch_once(options.one[0], Path(options.one[1]))
        return
    tools = ("steadyphi", "snapshot_download")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        source, target = Path(name) / "hub", Path(name) / "target"
        size = make(source, QUICK_SIZES if options.quick else SIZES)
        seconds: dict[str, list[float]] = {tool: [] for tool in tools}
        with served(source) as endpoint:
            for repeat in range(-1, 9 if options.quick else 5):
                for tool in tools if repeat % 2 else tools[::-1]:
                    taken = timed(tool, endpoint, source, target)
                    if repeat >= 0:  # the first warms up
                        seconds[tool].append(taken)
    median = {tool: statistics.median(times) for tool, times in seconds.items()}
    print({tool: [round(t, 2) for t in times] for tool, times in seconds.items()})
    print(
        json.dumps(
            {
                "bytes": size,
                "seconds": {tool: round(value, 3) for tool, value in median.items()},
                "vs_snapshot_download": round(median["steadyphi"] / median["snapshot_download"], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
