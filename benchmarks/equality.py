"""Every question of the real data sets, scored with the prefix tree and by transformers, in float32.

    python -m benchmarks.equality [--every 1] [--shared ../shared]

phi-tiny scores all choices of the questions of GSM8K's test set, SVAMP and three tasks of BIG-Bench Hard
that fit its context, in two formats. transformers reads every prompt again for every choice, in padded
batches. All log-probabilities must agree within 1e-4 and the best choice of every question must be the same.
The last line is JSON: for each data set the number of questions, the largest difference, and the number of
best choices that changed.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import phi_tiny
from steadyphi.data.choices import Asker
from steadyphi.data.row_files import read_rows
from steadyphi.inference.packed import pack
from steadyphi.inference.scoring import Request, score
from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.item import Item
from steadyphi.settings.compose import compose
from steadyphi.tokenizer import TextTokenizer

SETS = {
    "gsm8k": ("gsm8k", "gsm8k/test.jsonl"),
    "svamp": ("svamp", "svamp/SVAMP.json"),
    "dates": ("bbh", "bbh/date_understanding.json"),
    "deduction": ("bbh", "bbh/logical_deduction_three_objects.json"),
    "boolean": ("bbh-boolean", "bbh/boolean_expressions.json"),
}
NAMES = ("phi2", "question-dash")
TOGETHER = 32  # requests per padded batch


def items_of(shared: Path, name: str, every: int) -> list[Item]:
    """Return every `every`-th question of a data set, with its choices."""
    task, file = SETS[name]
    rows = read_rows(shared / "data" / file)
    asker = Asker(
        rows, compose({"task": task, "task_file": str(shared / "data" / file)}, Path("conf")).task, 0
    )
    return [asker.item(row) for row in rows[::every]]


def requests_of(items: list[Item], tokenizer: TextTokenizer, context: int) -> Iterator[list[Request]]:
    """Yield, for each question and format that fits the context, a request for each choice."""
    for format_ in map(FORMATS.__getitem__, NAMES):
        for item in items:
            prompt = tuple(tokenizer.encode(format_.prompt(item.question)))
            answers = [tuple(tokenizer.encode(format_.answer(choice))) for choice in item.choices]
            if len(prompt) + max(map(len, answers)) <= context:
                yield [Request(prompt, answer, item.id) for answer in answers]


@torch.no_grad()
def transformers_scores(theirs: Any, requests: list[Request]) -> list[float]:
    """Return the log-probabilities that transformers computes, in padded batches of one row per request."""
    order = sorted(range(len(requests)), key=lambda n: len(requests[n].context + requests[n].continuation))
    totals = [0.0] * len(requests)
    for first in range(0, len(order), TOGETHER):
        batch = order[first : first + TOGETHER]
        texts = [torch.tensor(requests[n].context + requests[n].continuation) for n in batch]
        tokens = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)
        logprobs = theirs(tokens, attention_mask=mask).logits.log_softmax(-1)
        for row, n in enumerate(batch):
            start = len(requests[n].context) - 1
            continuation = requests[n].continuation
            totals[n] = float(sum(logprobs[row, start + k, token] for k, token in enumerate(continuation)))
    return totals


def compare(shared: Path, name: str, every: int) -> dict[str, float]:
    """Score a data set both ways and return the differences."""
    ours, theirs, tokenizer = phi_tiny.load()
    groups = list(requests_of(items_of(shared, name, every), tokenizer, ours.config.block_size))
    flat = [request for group in groups for request in group]
    expected = transformers_scores(theirs, flat)
    scores = score(pack(ours, least=0), flat, 16384, name)
    start = changed = 0
    for group in groups:
        ours_scores, theirs_scores = (values[start : start + len(group)] for values in (scores, expected))
        changed += ours_scores.index(max(ours_scores)) != theirs_scores.index(max(theirs_scores))
        start += len(group)
    largest = max(abs(a - b) for a, b in zip(scores, expected, strict=True))
    return {"prompts": len(groups), "requests": len(flat), "largest_difference": largest, "changed": changed}


def main() -> None:
    """Compare all data sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, help="score every N-th question (%(default)s)")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder of the real data sets")
    options = parser.parse_args()
    if not (options.shared / "data").is_dir():  # a fresh clone has none, and `make bench` must continue
        print(f"benchmarks.equality: skipped, because {options.shared} has no real data sets (--shared)")
        return
    torch.set_num_threads(2)
    results = {name: compare(options.shared, name, options.every) for name in SETS}
    print(json.dumps(results))
    if any(result["largest_difference"] >= 1e-4 or result["changed"] for result in results.values()):
        sys.exit("error: the tree's scores differ from those of transformers")


if __name__ == "__main__":
    main()
