"""A small training run as a process of its own, to be killed, taken up again, and run by torchrun.

    python -m tests.training.program FOLDER full|lora|consistent SECONDS

SECONDS is how long it rests after a step; below zero it also has no dropout.

Writes into FOLDER: state/, curve.json and weights.pt at the end, and a line on stdout after every step.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from steadyphi.runtime import ranks
from steadyphi.settings.groups import Full, Lora
from steadyphi.training import parallel
from steadyphi.training.history import LogRow, Watcher
from steadyphi.training.interrupts import Stopped
from steadyphi.training.loop import fit
from steadyphi.training.lora import adapt
from steadyphi.training.remote_state import remote_state
from steadyphi.training.run_store import Store
from steadyphi.training.speed import Speed
from tests.training.made import examples, settings, small_phi


class Slow(Watcher):
    """Says that a step is done, and takes its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_step(self, row: LogRow, speed: Speed | None) -> None:
        print(row.step, flush=True)
        if speed:
            time.sleep(abs(self.seconds))


def main(folder: Path, name: str, seconds: float) -> None:
    """Train."""
    torch.set_num_threads(1)
    dropout = 0.0 if seconds < 0 else 0.1
    method = Lora("lora", 4, 8, dropout, ("attn.qkv", "mlp.fc")) if name == "lora" else Full("full")
    chosen = settings(method=method, epochs=3, micro_tokens=40, keep="best", lr=3e-3)
    train = examples()
    if name == "consistent":  # two renderings of each row, one with another token before the question
        chosen = replace(chosen, consistency=1.0, epochs=1)
        train += [replace(e, tokens=[7, *e.tokens], prompt=e.prompt + 1, rendering=1) for e in train]
    model = small_phi(dropout)
    if isinstance(method, Lora):
        torch.manual_seed(3)
        adapt(model, method)
    store = Store(folder / "state", remote_state("run"))
    with store.held(), ranks.joined():
        try:
            history = fit(model, train, examples(4), chosen, torch.float32, Slow(seconds), store, 0.0)
        except Stopped as stopped:
            sys.exit(128 + stopped.number)
        weights = parallel.gather(model.state_dict())
    if ranks.rank() == 0:
        torch.save(weights, folder / "weights.pt")
        (folder / "curve.json").write_text(json.dumps(history.record()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
