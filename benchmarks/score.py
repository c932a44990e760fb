"""Scoring beside transformers in padded batches, as evaluation harnesses run it.

    python -m benchmarks.score [--quick]

The same requests (items x formats x choices), the same weights, in turn; the values are compared.
The last line is JSON: median seconds, requests per second, the ratio.
"""

import argparse
import json

import torch

from benchmarks import phi_tiny
from benchmarks.timing import alternate
from steadyphi.data.store import Item
from steadyphi.inference.scoring import Request, score
from steadyphi.prompts import FORMATS


def requests_of(items: list[Item], names: list[str], tokenizer: phi_tiny.TextTokenizer) -> list[Request]:
    """Return a request for each choice of each item in each format."""
    return [
        Request(
            tuple(tokenizer.encode(FORMATS[name].prompt(item.question))),
            tuple(tokenizer.encode(FORMATS[name].answer(choice))),
            item.id,
        )
        for name in names
        for item in items
        for choice in item.choices
    ]


@torch.inference_mode()
def padded(model: torch.nn.Module, requests: list[Request], batch: int) -> list[float]:
    """Score as lm-evaluation-harness does: longest first, batches padded on the right, all logits."""
    order = sorted(range(len(requests)), key=lambda i: -len(requests[i].context + requests[i].continuation))
    scores = [0.0] * len(requests)
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        rows = [requests[i].context + requests[i].continuation[:-1] for i in group]
        width = max(map(len, rows))
        tokens = torch.tensor([list(r) + [0] * (width - len(r)) for r in rows])
        mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])
        logprobs = model(tokens, attention_mask=mask, use_cache=False).logits.float().log_softmax(-1)
        for place, i in enumerate(group):
            request = requests[i]
            first = len(request.context) - 1
            span = logprobs[place, first : first + len(request.continuation)]
            scores[i] = span.gather(1, torch.tensor(request.continuation)[:, None]).sum().item()
    return scores


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer items and repeats")
    quick = parser.parse_args().quick
    torch.set_num_threads(2)
    ours, theirs, tokenizer = phi_tiny.load()
    chosen = phi_tiny.settings(items=40 if quick else 200)
    items = phi_tiny.material(chosen).items
    requests = requests_of(items, list(chosen.evaluate.formats), tokenizer)
    ways = {
        "steadyphi": lambda: score(ours, requests, chosen.evaluate.batch_tokens, torch.float32),
        "transformers": lambda: padded(theirs, requests, 64),
    }
    seconds, results = alternate(ways, 3 if quick else 5)
    pairs = zip(results["steadyphi"], results["transformers"], strict=True)
    difference = max(abs(a - b) for a, b in pairs)
    assert difference < 1e-3, f"the two disagree by {difference}"
    print(
        json.dumps(
            {
                "requests": len(requests),
                "seconds": {name: round(value, 3) for name, value in seconds.items()},
                "largest_difference": difference,
                "vs_transformers": round(seconds["transformers"] / seconds["steadyphi"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
