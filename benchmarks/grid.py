"""A real full grid for `benchmarks.search`: a model answers every question in every drawn format.

    python -m benchmarks.grid grid.npz [--model artifacts/tuned] [--formats 320] [--items 400] [--seed 0]
    python -m benchmarks.grid grid.npz --scores artifacts/scores/base
    python -m benchmarks.search --grid grid.npz

The model is phi-tiny, a checkpoint folder, or the mean of the weights of several folders. The seed draws the
formats and the questions. With --scores, nothing is computed: the grid is that of a stored evaluation, all
formats of the families `FORMATS` and the questions asked in all of them. Writes `correct` (N, T) bool and
`atoms` (T, F) str. Computed in bfloat16 if the machine is fast at it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import phi_tiny
from steadyphi.evaluation import choices
from steadyphi.evaluation.suite import fitting
from steadyphi.inference.language_model import LanguageModel
from steadyphi.inference.load import load_model
from steadyphi.inference.packed import pack
from steadyphi.model import Phi
from steadyphi.prompts import families
from steadyphi.results import stored
from steadyphi.results.cells import cells
from steadyphi.runtime.device import pick_dtype
from steadyphi.tokenizer import TextTokenizer

Grid = tuple[NDArray[np.bool_], NDArray[np.str_]]
FORMATS = ("format", "unseen", "grammar", "options")


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
    """Write the grid."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--formats", type=int, default=320)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--model", type=Path, nargs="+", help="folders of checkpoints (phi-tiny)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scores", type=Path, help="the folder of a stored evaluation")
    options = parser.parse_args()
    correct, atoms = _stored(options.scores) if options.scores else _computed(options)
    np.savez(options.file, correct=correct, atoms=atoms)
    shares = correct.mean(axis=0)
    print(f"{correct.shape}: from {shares.min():.1%} to {shares.max():.1%}, spread {np.ptp(shares):.1%}")


def _stored(folder: Path) -> Grid:
    run = stored.read(folder)
    rows = [row for row in run.result.variants if row.family in FORMATS]
    atoms = np.array([[value for _, value in sorted(row.atoms.items())] for row in rows])
    return cells(run.rows, [row.name for row in rows], scorer=run.result.scorer).correct, atoms


def _computed(options: argparse.Namespace) -> Grid:
    """Score the grid, 40 formats at a time."""
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
    return np.concatenate(columns, axis=1), np.array([list(v.atoms.values()) for v in formats])


if __name__ == "__main__":
    main()
