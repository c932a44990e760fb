"""Training steps beside transformers with padded batches, as a default data collator makes them.

    python -m benchmarks.train [--quick]

The same examples grouped into the same batches, the same weights and optimizer, float32, in turn;
the losses are compared. The last line is JSON: median seconds of an epoch, tokens per second, the ratio.
"""

import argparse
import json

import torch

from benchmarks import phi_tiny
from benchmarks.timing import alternate
from steadyphi.data.packing import Example, collate, pack
from steadyphi.data.prepare import tokenize
from steadyphi.training.loss import loss_sum
from steadyphi.training.optimizer import make_optimizer


def epoch_ours(model: phi_tiny.Phi, batches: list[list[Example]]) -> list[float]:
    """Train one epoch on packed batches; return the loss of each step."""
    optimizer = make_optimizer(model, 1e-5, 0.0)
    losses = []
    for group in batches:
        batch = collate(group)
        loss = loss_sum(model, batch) / len(batch.targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def epoch_padded(model: torch.nn.Module, batches: list[list[Example]]) -> list[float]:
    """Train one epoch on the same groups padded to their longest example, prompts masked by -100."""
    optimizer = make_optimizer(model, 1e-5, 0.0)
    losses = []
    for group in batches:
        width = max(len(e.tokens) for e in group)
        fill = [width - len(e.tokens) for e in group]
        tokens = torch.tensor([e.tokens + [0] * n for e, n in zip(group, fill, strict=True)])
        mask = torch.tensor([[1] * len(e.tokens) + [0] * n for e, n in zip(group, fill, strict=True)])
        labels = torch.tensor(
            [[-100] * e.prompt + e.tokens[e.prompt :] + [-100] * n for e, n in zip(group, fill, strict=True)]
        )
        loss = model(tokens, attention_mask=mask, labels=labels, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer examples and repeats")
    quick = parser.parse_args().quick
    torch.set_num_threads(2)
    ours, theirs, tokenizer = phi_tiny.load()
    chosen = phi_tiny.settings(examples=200 if quick else 1000)
    examples = tokenize(phi_tiny.material(chosen).train, chosen.prepare, tokenizer).examples
    groups = pack([len(e.tokens) for e in examples], chosen.finetune.batch_tokens, range(len(examples)))
    batches = [[examples[i] for i in group] for group in groups]
    for model in (ours.requires_grad_(True), theirs):
        model.train()
    ways = {
        "steadyphi": lambda: epoch_ours(ours, batches),
        "transformers": lambda: epoch_padded(theirs, batches),
    }
    seconds, results = alternate(ways, 3 if quick else 5)
    pairs = zip(results["steadyphi"], results["transformers"], strict=True)
    difference = max(abs(a - b) for a, b in pairs)
    assert difference < 1e-2, f"the two disagree by {difference}"
    tokens = sum(len(e.tokens) for e in examples)
    print(
        json.dumps(
            {
                "tokens": tokens,
                "padding_share": round(
                    1 - tokens / sum(len(g) * max(len(e.tokens) for e in g) for g in batches), 3
                ),
                "seconds": {name: round(value, 3) for name, value in seconds.items()},
                "largest_difference": difference,
                "vs_transformers": round(seconds["transformers"] / seconds["steadyphi"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
