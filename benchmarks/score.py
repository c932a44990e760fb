"""Scoring of multiple choice in many formats, compared with lm-evaluation-harness, on real questions.

    make peers && python -m benchmarks.score [--quick] [--shared ../shared]

GSM8K and BBH (date understanding), five or six choices per question, few-shot, on a random Phi of 78 million
parameters with Phi-2's tokenizer and vocabulary. The harness gets the same token ids, in batches of 16, and
runs in its own process; the two run in turn. If all choices are single tokens, the harness also reads a
context once for all of them; then only the text shared between questions and formats saves time. Loading is
not timed. In float32 the scores must agree within 1e-4 and the best choice of every item must be the same.
The last line is JSON.
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.convert import PEERS
from steadyphi.checkpoint import configs, layouts
from steadyphi.checkpoint.convert import convert
from steadyphi.inference.packed import pack
from steadyphi.inference.scoring import Request, score
from steadyphi.model import WEIGHTS, Phi
from steadyphi.model_config import PhiConfig
from steadyphi.prompts.formats import FORMATS
from steadyphi.tokenizer import TextTokenizer

MID = PhiConfig(8, 8, 512, 2048, 51200, 2048, 0.5, 10000.0, 1e-5)
TEMPLATES = ["phi2", "phi15", "qa", "question", "question-upper", "question-dash", "chat", "alpaca"]
Question = tuple[str, list[str], int]  # text, choices, the right one


def make_model(folder: Path, config: PhiConfig, tokenizer: Path) -> None:
    """Write a random Phi, with random norms and biases too, to `folder`/lit and `folder`/hub."""
    lit = folder / "lit"
    lit.mkdir()
    model = Phi(config)
    generator = torch.Generator().manual_seed(0)
    model.init_weights(generator, std=0.05)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    torch.save(model.state_dict(), lit / WEIGHTS)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        shutil.copyfile(tokenizer / name, lit / name)
    configs.write(lit, layouts.LIT, config, lit, name="random/phi", dtype="float32", eos_id=50256)
    (folder / "hub").mkdir()
    convert(lit, folder / "hub", "keep", layouts.HUB)


def gsm8k(folder: Path) -> list[Question]:
    """Return problems whose choices are the final answer and those of four other problems."""
    rows = [json.loads(line) for line in (folder / "gsm8k" / "test.jsonl").read_text().splitlines()]
    answers = [row["answer"].rpartition("#### ")[2] for row in rows]
    rng = random.Random(0)
    questions = []
    for row, answer in zip(rows, answers, strict=True):
        others = [a for a in dict.fromkeys(rng.sample(answers, 40)) if a != answer][:4]
        choices = rng.sample([answer, *others], 5)
        questions.append((row["question"], choices, choices.index(answer)))
    return questions


def dates(folder: Path) -> list[Question]:
    """Return questions whose choices are the dates themselves, which have several tokens."""
    questions = []
    for row in json.loads((folder / "bbh" / "date_understanding.json").read_text())["examples"]:
        text, _, options = row["input"].partition("\nOptions:\n")
        choices = {line[:3]: line[4:] for line in options.splitlines()}
        if row["target"] in choices:
            questions.append((text, list(choices.values()), list(choices).index(row["target"])))
    return questions


def letters(folder: Path) -> list[Question]:
    """Return the questions of `dates` with letters as choices, which have one token each."""
    questions = []
    for row in json.loads((folder / "bbh" / "date_understanding.json").read_text())["examples"]:
        choices = [line[1] for line in row["input"].splitlines() if line[:1] == "(" and line[2:3] == ")"]
        if row["target"][1] in choices:
            questions.append((row["input"], choices, choices.index(row["target"][1])))
    return questions


def requests_of(
    questions: list[Question], shots: int, names: list[str], tokenizer: TextTokenizer
) -> list[Request]:
    """Return a request for each choice of each question in each format, after `shots` solved questions."""
    solved, asked = questions[:shots], questions[shots:]
    requests = []
    for name in names:
        format_ = FORMATS[name]
        stem = "".join(format_.prompt(q) + format_.answer(c[right]) + "\n\n" for q, c, right in solved)
        for n, (question, choices, _) in enumerate(asked):
            context = tuple(tokenizer.encode(stem + format_.prompt(question)))
            requests += [
                Request(context, tuple(tokenizer.encode(format_.answer(c))), str(n)) for c in choices
            ]
    return requests


def best(requests: list[Request], scores: list[float]) -> list[tuple[int, ...]]:
    """Return the continuation with the best score for each context."""
    ranked: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {}
    for request, value in zip(requests, scores, strict=True):
        ranked[request.context] = max(ranked.get(request.context, (-1e9, ())), (value, request.continuation))
    return [choice for _, choice in ranked.values()]


def run_harness(folder: Path, requests: list[Request], dtype: str) -> tuple[float, list[float]]:
    path = folder / "requests.json"
    path.write_text(json.dumps([(r.context, r.continuation) for r in requests]))
    script = str(Path(__file__).with_name("harness.py"))
    command = [str(PEERS), script, str(folder / "hub"), str(path), dtype, "16"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    )
    if done.returncode:
        sys.exit(f"lm-evaluation-harness: {done.stderr.strip().splitlines()[-1]}")
    output = json.loads(done.stdout.splitlines()[-1])
    return output["seconds"], output["scores"]


def run_ours(model: Phi, requests: list[Request]) -> tuple[float, list[float]]:
    start = time.perf_counter()
    scores = score(model, requests, 16384)
    return time.perf_counter() - start, scores


def compare(folder: Path, requests: list[Request], dtype: str, repeats: int) -> dict[str, Any]:
    """Time both in turn and compare their scores."""
    model = pack(Phi.load(folder / "lit", getattr(torch, dtype)), least=0)
    run_ours(model, requests[:40])
    seconds: dict[str, list[float]] = {"steadyphi": [], "harness": []}
    for _ in range(repeats):
        ours, scores = run_ours(model, requests)
        theirs, expected = run_harness(folder, requests, dtype)
        seconds["steadyphi"].append(ours)
        seconds["harness"].append(theirs)
    difference = max(abs(a - b) for a, b in zip(scores, expected, strict=True))
    flips = sum(a != b for a, b in zip(best(requests, scores), best(requests, expected), strict=True))
    assert dtype != "float32" or (difference < 1e-4 and not flips), (difference, flips)
    ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
    return {
        "requests": len(requests),
        "tokens": sum(len(r.context + r.continuation) for r in requests),
        "seconds": {name: round(statistics.median(times), 3) for name, times in seconds.items()},
        "largest_difference": difference,
        "changed_choices": flips,
        "vs_harness": round(ratio, 2),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="two questions, one repetition; only float32 and few-shot"
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder of the real data sets")
    options = parser.parse_args()
    if not PEERS.exists():
        sys.exit(f"error: {PEERS}: does not exist; run make peers, which installs the harness")
    if not (options.shared / "data").is_dir():  # a fresh clone has none, and `make bench` must continue
        print(f"benchmarks.score: skipped, because {options.shared} has no real data sets (--shared)")
        return
    torch.set_num_threads(2)
    count, repeats = (2, 1) if options.quick else (8, 3)
    few, one = (3, TEMPLATES), (3, TEMPLATES[:1])
    settings = [("gsm8k", gsm8k, *few, "float32"), ("dates", dates, *few, "float32")]
    if not options.quick:
        settings += [("gsm8k", gsm8k, *few, "bfloat16"), ("dates", dates, *few, "bfloat16")]
        settings += [("gsm8k", gsm8k, *one, "float32"), ("gsm8k", gsm8k, 0, TEMPLATES, "float32")]
        settings += [("gsm8k", gsm8k, 0, TEMPLATES[:1], "float32")]
        settings += [("letters", letters, *few, "float32"), ("letters", letters, *one, "float32")]
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_model(folder, MID, options.shared / "hub" / "phi-2")
        tokenizer = TextTokenizer(folder / "lit")
        for task, load, shots, names, dtype in settings:
            asked = count * (8 // len(names))  # the same number of prompts with one template as with eight
            requests = requests_of(load(options.shared / "data")[: shots + asked], shots, names, tokenizer)
            name = f"{task}, {shots}-shot, {len(names)} templates, {dtype}"
            results[name] = compare(folder, requests, dtype, repeats)
            print(f"{name}: {results[name]}", file=sys.stderr, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
