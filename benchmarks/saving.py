"""How long training stands still for its state: written by a thread from a copy, and written at once.

    python -m benchmarks.saving [--layers 8] [--width 1024] [--steps 6] [--tokens 2048] [--folder .]

A random Phi trains with every weight in float32 and saves after each step, once with room for the copy and
once without; between them it does not save. `--folder` is on the disk to write to. On a CPU the thread
takes time from training, which it does not on a GPU, so the time of the whole run is shown too.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.phi_tiny import settings
from steadyphi.data.packing import Example
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig
from steadyphi.runtime.device import make_repeatable
from steadyphi.training.loop import fit
from steadyphi.training.run_store import Store


class Timed(Store):
    """A store that measures the seconds of each `save`, and the bytes of a state."""

    def __init__(self, folder: Path, room: int | None) -> None:
        super().__init__(folder, room=room)
        self.stood: list[float] = []
        self.size = 0

    def save(self, step: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any], best: int) -> None:
        """Save as usual."""
        self.size = sum(tensor.nbytes for tensor in tensors.values())
        began = time.perf_counter()
        super().save(step, tensors, record, best)
        self.stood.append(time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, value in (("layers", 8), ("width", 1024), ("steps", 6), ("tokens", 2048)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--folder", type=Path, default=Path())
    options = parser.parse_args(arguments)
    tokens, width = options.tokens, options.width
    chosen = replace(
        settings().finetune,
        **{"max_steps": options.steps, "samples": 0, "keep": "last", "threads": None},
        **{"batch_tokens": tokens, "micro_tokens": tokens, "precision": "auto"},
    )
    make_repeatable(0, None)
    config = PhiConfig(
        options.layers, width // 64, width, 4 * width, 1280, 512, 0.5, 1e4, 1e-5, 0.0, 0.0, 0.0
    )
    rng = random.Random(0)
    examples = [Example([rng.randrange(1280) for _ in range(256)], 128) for _ in range(tokens)]
    for name, room in (("beside training", None), ("not at all", -2), ("at once", -1)):
        model = Phi(config)
        model.init_weights(torch.Generator().manual_seed(0))
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            store = None if room == -2 else Timed(Path(folder, "state"), room)
            began = time.perf_counter()
            fit(model, examples, [], chosen, torch.bfloat16, store=store, save_seconds=0.0)
            whole = time.perf_counter() - began
        stood = sorted(store.stood) if store else [0.0]
        size = f"{store.size / 1e9:.2f} GB; " if store else ""
        print(
            f"{name}: {size}training stands still for {stood[len(stood) // 2]:.2f} s a state (most "
            f"{stood[-1]:.2f} s); {options.steps} steps in {whole:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
