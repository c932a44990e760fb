"""Memory and speed of `prepare` for many short rows: python -m benchmarks.prepare_scale --rows 1000000

The rows are written to a temporary file and prepared in a process of its own, whose peak of resident memory
is reported. `--quick` prepares 50,000 rows.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOKENIZER = Path("assets/phi-tiny")


def write_rows(path: Path, count: int) -> None:
    """Write rows of about 100 characters, no two of them alike."""
    with path.open("w") as file:
        for n in range(count):
            question = f"How many boxes of {n % 97 + 3} apples are needed for {n} apples?"
            row = {"instruction": question, "input": "", "output": f"{n // (n % 97 + 3)} boxes are needed."}
            file.write(json.dumps(row) + "\n")


def prepare_rows(file: Path, into: Path, renderings: int) -> dict[str, float]:
    """Prepare the file; return the seconds, the rates and the peak of resident memory in MB."""
    from steadyphi.data.prepare import prepare
    from steadyphi.settings.compose import compose
    from steadyphi.tokenizer import TextTokenizer

    params = {"data": "jsonl", "data_file": str(file), "prepare": {"renderings": renderings}}
    settings = compose(params, Path("conf")).prepare
    tokenizer = TextTokenizer(TOKENIZER)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    counts = prepare(settings, file, tokenizer, into)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": counts["train_examples"] + counts["valid_examples"],
        "seconds": round(seconds, 1),
        "rows_per_second": round(counts["train_examples"] / seconds),
        "tokens_per_second": round(counts["train_tokens"] / seconds),
        "peak_mb": round(peak / 1024),
        "peak_before_mb": round(before / 1024),
    }


def main() -> None:
    """Prepare the rows in another process and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--renderings", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="50,000 rows")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        print(json.dumps(prepare_rows(options.file, options.file.parent / "out", options.renderings)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        write_rows(file, 50_000 if options.quick else options.rows)
        command = [sys.executable, "-m", "benchmarks.prepare_scale", "--file", str(file)]
        subprocess.run([*command, "--renderings", str(options.renderings)], check=True)


if __name__ == "__main__":
    main()
