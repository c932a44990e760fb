"""Instruction data to masked tokens on disk, beside TRL's own preparation.

    python -m benchmarks.prepare [--quick] [--rows N] [--repeats N]

The training rows of GSM8K, repeated, in the format phi2. TRL tokenizes, makes the completion mask and packs
by best fit decreasing (in the peers' environment: make peers). Ours is measured twice: the whole of
`prepare`, with the audit and the questions, and its core, which reads, renders, tokenizes and writes. The
bare tokenizer, which is the library's, encodes the same texts in one batch. All have the same tokenizer,
phi-tiny's, and two workers: TRL two processes, ours two threads. They run in turn, each in a process of its
own, without its imports. The documents and their masks are compared. The last line is JSON: median seconds,
of the clock and of the CPU, tokens per second, ratios, and the peak memory of each process tree.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
SOURCE = ROOT.parent / "shared" / "data" / "gsm8k" / "train.jsonl"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
TOKENIZER = ROOT / "assets" / "phi-tiny"
WORKERS = 2
TIMED = "timed"  # a file that a side writes when its time has ended, before the documents are compared
SIDES = ("core", "prepare", "tokenizer", "trl")


def write_rows(count: int, folder: Path) -> None:
    """Write the same rows for both: questions and answers for us, prompts and completions for TRL."""
    rows = [json.loads(line) for line in SOURCE.read_text().splitlines()]
    with (folder / "ours.jsonl").open("w") as ours, (folder / "trl.jsonl").open("w") as trl:
        for n in range(count):
            row = rows[n % len(rows)]
            # Numbered, because we count equal rows once.
            print(json.dumps({**row, "copy": n // len(rows)}), file=ours)
            prompt, completion = f"Instruct: {row['question']}\nOutput:", f" {row['answer']}"
            print(json.dumps({"prompt": prompt, "completion": completion}), file=trl)


def run_once(side: str, folder: Path) -> None:
    """Run one of our sides in this process, and print what `prepare_trl` prints."""
    from tokenizers import Tokenizer

    from steadyphi.data import sources, tables  # noqa: F401  # imported before the clock starts
    from steadyphi.data.encoding import encode_examples
    from steadyphi.data.prepare import prepare
    from steadyphi.data.row_files import read_rows
    from steadyphi.data.row_formats import recognize
    from steadyphi.prompts.formats import FORMATS
    from steadyphi.settings.compose import compose
    from steadyphi.tokenizer import TextTokenizer

    file, into = folder / "ours.jsonl", folder / "out"
    tokenizer = TextTokenizer(TOKENIZER)
    into.mkdir(exist_ok=True)
    changes = {"styles": ["phi2"], "grammar": 0, "renderings": 1, "valid": 1, "items": 8}
    params = {
        "data": "gsm8k",
        "data_file": str(file),
        "task": "textbook",
        "model": "phi-1.5",
        "prepare": changes,
    }
    settings = compose(params, ROOT / "conf").prepare
    format_ = FORMATS["phi2"]
    if side == "tokenizer":
        rows = read_rows(file)
        read = recognize(rows, "columns", "{question}", "{answer}").read
        dialogues = [read(row) for row in rows]
        texts = [text for d in dialogues for text in (*d.prompts(format_), format_.answer(d.response))]
        bare = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
        start = time.perf_counter(), time.process_time()
        assert [encoding.ids for encoding in bare.encode_batch(texts)]
        print(json.dumps(_since(start)))
        (folder / TIMED).touch()
        return
    start = time.perf_counter(), time.process_time()
    if side == "prepare":
        prepare(settings, file, tokenizer, into)
    else:
        rows = read_rows(file)
        read = recognize(rows, "columns", "{question}", "{answer}").read
        examples = encode_examples(tokenizer, [(format_, read(row)) for row in rows])
        tables.write_examples(into / "train.parquet", [r.id for r in rows], ["phi2"] * len(rows), examples)
    taken = _since(start)
    (folder / TIMED).touch()
    names = ("train", "valid") if side == "prepare" else ("train",)
    print(json.dumps({**taken, **_digest([into / f"{name}.parquet" for name in names])}))


def _since(start: tuple[float, float]) -> dict[str, float]:
    return {"seconds": time.perf_counter() - start[0], "cpu_seconds": time.process_time() - start[1]}


def _digest(paths: list[Path]) -> dict[str, Any]:
    """Return the number of tokens, and a digest of the documents with their masks in any order."""
    from steadyphi.data.tables import read_examples

    examples = [example for path in paths for example in read_examples(path)]
    documents = [json.dumps([example.prompt, example.tokens]) for example in examples]
    joined = "\n".join(sorted(documents)).encode()
    tokens = sum(len(example.tokens) for example in examples)
    return {"documents": len(documents), "tokens": tokens, "digest": hashlib.sha256(joined).hexdigest()}


def measured(side: str, folder: Path) -> tuple[dict[str, Any], int]:
    """Run a side in a process of its own; return what it prints and the peak memory of its process tree.

    Memory is proportional set size, sampled twice a second, so shared pages count once.
    """
    if side == "trl":
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            command = [PEERS, "benchmarks/prepare_trl.py", folder / "trl.jsonl", TOKENIZER, WORKERS, cache]
            return _watched([str(part) for part in command], folder / TIMED)
    return _watched([sys.executable, "-m", "benchmarks.prepare", "--one", side, str(folder)], folder / TIMED)


def _watched(command: list[str], timed: Path) -> tuple[dict[str, Any], int]:
    timed.unlink(missing_ok=True)
    env = os.environ | {"RAYON_NUM_THREADS": str(WORKERS), "HF_HUB_OFFLINE": "1"}
    peak = 0
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True) as p:
        tree = psutil.Process(p.pid)
        while p.poll() is None:
            if not timed.exists():
                peak = max(peak, sum(map(_resident, [tree, *_children(tree)])))
            time.sleep(0.5)
        assert p.stdout and p.stderr
        out, err = p.stdout.read(), p.stderr.read()
    assert p.returncode == 0, err
    return json.loads(out.splitlines()[-1]), peak


def _children(tree: psutil.Process) -> list[psutil.Process]:
    try:
        return list(tree.children(recursive=True))
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="7,473 rows instead of 100,000")
    parser.add_argument("--rows", type=int, help="another number of rows")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side (%(default)s)")
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_once(options.one[0], Path(options.one[1]))
        return
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    cpu: dict[str, list[float]] = {side: [] for side in SIDES}
    memory = dict.fromkeys(SIDES, 0)
    digests = {}
    with tempfile.TemporaryDirectory() as name:
        write_rows(options.rows or (7_473 if options.quick else 100_000), Path(name))
        for repeat in range(options.repeats):
            for side in SIDES if repeat % 2 else SIDES[::-1]:
                digests[side], peak = measured(side, Path(name))
                seconds[side].append(digests[side].pop("seconds"))
                cpu[side].append(digests[side].pop("cpu_seconds"))
                memory[side] = max(memory[side], peak)
                print(side, seconds[side], cpu[side], f"{peak / 1e6:,.0f} MB", file=sys.stderr)
    assert digests["core"] == digests["prepare"] == digests["trl"], digests
    clock, work = ({k: statistics.median(v) for k, v in times.items()} for times in (seconds, cpu))
    tokens = digests["core"]["tokens"]
    ratios = {
        f"{ours}_vs_{other}{name}": round(taken[other] / taken[ours], 2)
        for name, taken in (("", clock), ("_cpu", work))
        for ours in ("core", "prepare")
        for other in ("trl", "tokenizer")
    }
    result = {
        "documents": digests["core"]["documents"],
        "tokens": tokens,
        "seconds": {side: round(value, 3) for side, value in clock.items()},
        "cpu_seconds": {side: round(value, 3) for side, value in work.items()},
        "tokens_per_second": {side: round(tokens / value) for side, value in clock.items()},
        "peak_mb": {side: round(value / 1e6) for side, value in memory.items()},
    }
    print(json.dumps({**result, **ratios}))


if __name__ == "__main__":
    main()
