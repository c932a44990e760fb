"""The models and the data that all sides of `benchmarks.train` get."""

import json
import random
import shutil
from pathlib import Path

import torch

from steadyphi.checkpoint import configs, layouts
from steadyphi.checkpoint.convert import convert
from steadyphi.data.encoding import encode_examples
from steadyphi.data.row_formats import Dialogue
from steadyphi.model import WEIGHTS, Phi
from steadyphi.model_config import PhiConfig
from steadyphi.prompts.formats import FORMATS
from steadyphi.tokenizer import TextTokenizer

TINY = PhiConfig(2, 4, 64, 256, 51200, 2048, 0.5, 10000.0, 1e-5)
PHI_15 = PhiConfig(24, 32, 2048, 8192, 51200, 2048, 0.5, 10000.0, 1e-5)
Examples = list[tuple[list[int], int]]


def make(folder: Path, config: PhiConfig, tokenizer: Path | None) -> tuple[Path, Path]:
    """Write a random Phi in bfloat16; return it as lit-gpt and as the Hub has it.

    Its logits have about unit variance, so that a loss that is wrong shows; norms and biases are random too.
    """
    lit, hub = folder / "lit", folder / "hub"
    lit.mkdir()
    hub.mkdir()
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Phi(config).state_dict().items()}
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        state[name] = torch.empty(shape, dtype=torch.bfloat16).normal_(
            std=config.n_embd**-0.5, generator=generator
        )
        if name.endswith(("norm_1.weight", "ln_f.weight")):
            state[name] += 1
    torch.save(state, lit / WEIGHTS)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt") if tokenizer else ():
        shutil.copyfile(tokenizer / name, lit / name)
    configs.write(lit, layouts.LIT, config, lit, name="random/phi", dtype="bfloat16", eos_id=50256)
    convert(lit, hub, "keep", layouts.HUB)
    return lit, hub


def rows(count: int, length: int) -> Examples:
    """Return random texts of one length, supervised from the second token on."""
    rng = random.Random(0)
    return [([rng.randrange(50000) for _ in range(length)], 0) for _ in range(count)]


def gsm8k(shared: Path, tokenizer: Path, count: int) -> Examples:
    """Return random problems of the train set in Phi-2's prompt format; the loss is on the solution."""
    lines = (shared / "data" / "gsm8k" / "train.jsonl").read_text().splitlines()
    problems = [json.loads(line) for line in random.Random(0).sample(lines, count)]
    asked = [(FORMATS["phi2"], Dialogue("", ((p["question"], p["answer"]),))) for p in problems]
    return [(e.tokens, e.prompt) for e in encode_examples(TextTokenizer(tokenizer), asked)]
