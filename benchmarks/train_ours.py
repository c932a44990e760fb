"""SteadyPhi's own training loop, as a side of `benchmarks.train`.

python -m benchmarks.train_ours JOB.json
"""

import dataclasses
import re
from pathlib import Path
from unittest import mock

import torch

from benchmarks.train_gate import Gate, Job, first_a, start
from steadyphi.data.packing import Example
from steadyphi.model import Phi
from steadyphi.settings.compose import compose
from steadyphi.settings.schema import Finetune
from steadyphi.training import loop
from steadyphi.training.adapters import load_for_training
from steadyphi.training.history import LogRow, Watcher
from steadyphi.training.speed import Speed


class Gated(Watcher):
    """Stops at the gate after each step."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def on_step(self, row: LogRow, speed: Speed | None) -> None:
        self.gate.step(row.train_loss)


def settings_of(job: Job) -> Finetune:
    """Return the default settings with what the job asks for."""
    chosen = compose({"method": "lora" if job.rank else "full"}, Path("conf")).finetune
    if job.rank:
        method = dataclasses.replace(chosen.method, r=job.rank, alpha=2 * job.rank, dropout=0.0)
        chosen = dataclasses.replace(chosen, method=method)
    most = max(
        sum(len(job.examples[i][0]) for i in step[first : first + job.micro])
        for step in job.steps
        for first in range(0, len(step), job.micro)
    )
    return dataclasses.replace(
        chosen, lr=job.lr, schedule="constant", warmup_ratio=0.0, weight_decay=0.0, clip=1e9, dropout=False,
        max_steps=len(job.steps), micro_tokens=most, keep="last", precision="bfloat16",
        checkpointing=job.checkpointing,
    )  # fmt: skip


def set_adapters(model: Phi) -> None:
    """Give each A its first values."""
    for name, parameter in model.named_parameters():
        found = re.search(r"h\.(\d+)\.(?:attn|mlp)\.(\w+)\.lora_A", name)
        if found:
            parameter.data.copy_(first_a(int(found[1]), found[2], *parameter.shape))


def main() -> None:
    """Train."""
    job, gate = start()
    settings = settings_of(job)
    model = load_for_training(Path(job.lit), settings, torch.bfloat16, torch.device(job.device))
    set_adapters(model)
    examples = [Example(tokens, prompt) for tokens, prompt in job.examples]
    gate.open()
    # The loop's own steps would be others than the peers'.
    with mock.patch.object(loop, "plan_steps", lambda *_: job.steps):
        loop.fit(model, examples, [], settings, torch.bfloat16, Gated(gate))


if __name__ == "__main__":
    main()
