"""LitGPT's own `fit` of `litgpt.finetune.full` or `.lora`, as a side of `benchmarks.train`.

    .venv-peers/bin/python -m benchmarks.train_litgpt JOB.json

Its loop, model, loss and collator; bf16-mixed, its default for training. It is handed tokenized examples, and
a fused AdamW. It has no clipping, and its step is the mean of the micro-batches' means.
"""

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning
import torch
from lightning.fabric.loggers.logger import Logger
from litgpt.args import EvalArgs, TrainArgs
from litgpt.data import get_sft_collate_fn
from litgpt.finetune import full, lora
from litgpt.utils import instantiate_torch_optimizer, load_checkpoint
from torch.utils.data import DataLoader

from benchmarks.train_gate import Gate, Job, first_a, start


class Gated(Logger):
    """Stops at the gate after each step, of which the loop's metrics tell."""

    name, version = "gate", 0

    def __init__(self, gate: Gate, accumulated: int) -> None:
        self.gate, self.accumulated = gate, accumulated

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        if "loss" in metrics and metrics["iter"] % self.accumulated == 0:
            self.gate.step(metrics["loss"])

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...


def samples(job: Job) -> list[dict[str, Any]]:
    """Return the examples as `litgpt.data.SFTDataset` has them, the prompt masked."""
    found = []
    for tokens, prompt in job.in_order():
        ids = torch.tensor(tokens)
        labels = ids.clone()
        labels[:prompt] = -100
        counts = {"raw": len(tokens), "raw_plus_prompt_template": len(tokens)}
        found.append({"input_ids": ids, "labels": labels, "token_counts": counts})
    return found


def build(job: Job, module: ModuleType, fabric: lightning.Fabric) -> tuple[Any, Any]:
    """Return the model and the optimizer as the module's `main` makes them."""
    ranks = {}
    if job.rank:
        parts = ("query", "key", "value", "projection", "mlp")
        ranks = {f"lora_{part}": True for part in parts}
        ranks |= {"lora_r": job.rank, "lora_alpha": 2 * job.rank, "lora_dropout": 0.0}
    config = module.Config.from_file(Path(job.lit) / "model_config.yaml", **ranks)
    with fabric.init_module(empty_init=False):
        model = module.GPT(config)
    if job.rank:
        lora.mark_only_lora_as_trainable(model)
    model = fabric.setup_module(model) if job.rank else fabric.setup(model)
    arguments = {"lr": job.lr, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0, "fused": True}
    wanted = {"class_path": "torch.optim.AdamW", "init_args": arguments}
    optimizer = fabric.setup_optimizers(instantiate_torch_optimizer(wanted, model.parameters()))
    load_checkpoint(fabric, model, Path(job.lit) / "lit_model.pth", strict=not job.rank)
    for n, block in enumerate(model.transformer.h if job.rank else ()):
        for part, layer in (("qkv", block.attn.qkv), ("proj", block.attn.proj), ("fc", block.mlp.fc),
                            ("proj", block.mlp.proj)):  # fmt: skip
            a = first_a(n, part, job.rank, layer.lora_A.shape[1])
            layer.lora_A.data.copy_(a.repeat(len(layer.lora_A) // job.rank, 1))
    return model, optimizer


def main() -> None:
    """Train."""
    job, gate = start()
    module = lora if job.rank else full
    size = len(job.steps[0])
    gated = Gated(gate, size // job.micro)
    fabric = lightning.Fabric(accelerator=job.device, devices=1, precision="bf16-mixed", loggers=gated)
    model, optimizer = build(job, module, fabric)
    data, collate = samples(job), get_sft_collate_fn()
    loaders = fabric.setup_dataloaders(
        DataLoader(data, batch_size=job.micro, collate_fn=collate), DataLoader([], collate_fn=collate)
    )
    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {
            "fabric": fabric,
            "train_dataloader": loaders[0],
            "val_dataloader": loaders[1],
            "devices": 1,
            "checkpoint_dir": Path(job.lit),
            "out_dir": Path(folder),
            "train": TrainArgs(
                save_interval=None, log_interval=1, global_batch_size=size, micro_batch_size=job.micro,
                epochs=2, max_steps=len(job.steps),
            ),
            "eval": EvalArgs(interval=10**9, initial_validation=False, final_validation=False),
            "data": None,
        }  # fmt: skip
        scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        gate.open()
        model.train()
        if job.rank:
            lora.fit(model=model, optimizer=optimizer, scheduler=scheduler, **common)
        else:
            state = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
            full.fit(state=state | {"iter_num": 0, "step_count": 0}, resume=False, **common)


if __name__ == "__main__":
    main()
