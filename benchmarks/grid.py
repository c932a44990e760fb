"""A real full grid for `benchmarks.search`: a model answers every question in every drawn format.

    python -m benchmarks.grid grid.npz [--model artifacts/tuned] [--formats 320] [--items 400] [--seed 0]
    python -m benchmarks.search --grid grid.npz

The model is phi-tiny, a checkpoint folder, or the mean of the weights of several folders. The seed draws the
formats and the questions. Writes `correct` (N, T) bool and `atoms` (T, F) str. Computed in bfloat16 if the
machine is fast at it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import phi_tiny
from steadyphi.evaluation import choices
from steadyphi.evaluation.suite import fitting
from steadyphi.inference.language_model import LanguageModel
from steadyphi.inference.load import load_model
from steadyphi.inference.packed import pack
from steadyphi.model import Phi
from steadyphi.prompts import families
from steadyphi.runtime.device import pick_dtype
from steadyphi.tokenizer import TextTokenizer


def _model(folders: Sequence[Path] | None) -> tuple[Phi, TextTokenizer]:
    if not folders:
        model, _, tokenizer = phi_tiny.load()
        return model, tokenizer
    models = [load_model(folder, None, torch.float32) for folder in folders]
    states = [model.state_dict() for model in models]
    means = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    models[0].load_state_dict(means, assign=True)
    return models[0], TextTokenizer(folders[0])


def main() -> None:
    """Score the grid, 40 formats at a time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--formats", type=int, default=320)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--model", type=Path, nargs="+", help="folders of checkpoints (phi-tiny)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, tokenizer = _model(options.model)
    model = pack(model.to(pick_dtype("auto", torch.device("cpu"))), least=0)
    settings = phi_tiny.settings(options.seed, items=options.items)
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
