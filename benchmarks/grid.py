"""A real full grid for `benchmarks.search`: phi-tiny answers every question in every drawn format.

    python -m benchmarks.grid grid.npz [--formats 320] [--items 400]
    python -m benchmarks.search --grid grid.npz

Writes `correct` (N, T) bool and `atoms` (T, F) str. Computed in bfloat16 if the machine is fast at it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks import phi_tiny
from steadyphi.evaluation import choices
from steadyphi.evaluation.suite import fitting
from steadyphi.inference.language_model import LanguageModel
from steadyphi.inference.packed import pack
from steadyphi.prompts import families
from steadyphi.runtime.device import pick_dtype


def main() -> None:
    """Score the grid, 40 formats at a time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--formats", type=int, default=320)
    parser.add_argument("--items", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(2)
    model, _, tokenizer = phi_tiny.load()
    model = pack(model.to(pick_dtype("auto", torch.device("cpu"))), least=0)
    settings = phi_tiny.settings(items=options.items)
    language_model = LanguageModel(model, tokenizer, settings.evaluate.batch_tokens)
    formats = families.grammar(options.formats, settings.seed)
    items = phi_tiny.material(settings).items
    items = fitting(tokenizer, formats, items, [], model.config.block_size, settings.seed)
    columns = []
    for first in range(0, len(formats), 40):
        batch = formats[first : first + 40]
        pairs = [(variant, item) for variant in batch for item in items]
        label = f"formats {first + 1} to {first + len(batch)} of {len(formats)}"
        right = choices.correct(language_model, pairs, settings.evaluate, label)
        columns.append(right.reshape(len(batch), len(items)).T)
    correct = np.concatenate(columns, axis=1)
    np.savez(options.file, correct=correct, atoms=np.array([list(v.atoms.values()) for v in formats]))
    shares = correct.mean(axis=0)
    print(f"{correct.shape}: from {shares.min():.1%} to {shares.max():.1%}, spread {np.ptp(shares):.1%}")


if __name__ == "__main__":
    main()
