"""What the tests of training train on: settings, examples and a small Phi, without a heavy import."""

import torch

from steadyphi.data.packing import Example
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig
from steadyphi.settings.groups import Full
from steadyphi.settings.schema import Finetune

TARGETS = ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")


def settings(**changes: object) -> Finetune:
    values = {
        "method": Full(name="full"),
        "lr": 1e-3,
        "schedule": "cosine",
        "dropout": True,
        "keep": "last",
        "patience": None,
        "samples": 0,
        "checkpointing": False,
        "compile": False,
        "epochs": 2,
        "max_steps": None,
        "batch_tokens": 64,
        "micro_tokens": 64,
        "warmup_ratio": 0.1,
        "min_lr_ratio": 0.1,
        "weight_decay": 0.01,
        "clip": 1.0,
        "consistency": 0.0,
        "evals_per_epoch": 2,
        "precision": "float32",
        "threads": 2,
        "seed": 0,
    }
    return Finetune(**{**values, **changes})  # type: ignore[arg-type]


def examples(count: int = 30) -> list[Example]:
    generator = torch.Generator().manual_seed(2)
    sizes = torch.randint(4, 20, (count,), generator=generator).tolist()
    return [Example(torch.randint(0, 211, (n,), generator=generator).tolist(), n // 2) for n in sizes]


def small_phi(dropout: float = 0.0, seed: int = 1) -> Phi:
    """Return a random Phi with Phi-2's head size; biases and norms are random too."""
    config = PhiConfig(3, 2, 160, 320, 211, 128, 0.4, 10_000.0, 1e-5, dropout, dropout, dropout)
    model = Phi(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
        for block in model.blocks():
            block.norm_1.weight.add_(1)
        model.transformer["ln_f"].weight.add_(1)
    return model
