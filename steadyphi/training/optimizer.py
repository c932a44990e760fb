"""AdamW with weight decay groups, and the learning rate schedule."""

import math
from typing import Literal

import torch
from torch import nn

Schedule = Literal["cosine", "linear", "constant"]


def make_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019) over the trainable parameters.

    Weight decay applies to matrices, and not to biases and norms, which have one dimension.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.95), eps=1e-8, fused=True
    )


def lr_factor(
    step: int, steps: int, warmup_ratio: float, min_ratio: float, schedule: Schedule = "cosine"
) -> float:
    """Return the factor of the peak learning rate at `step` (0 ≤ step < steps).

    The factor rises linearly over the first `warmup_ratio` of the run; the first step's factor is not zero.
    Then it falls along half a cosine or a straight line to `min_ratio` at the last step, or stays constant.
    """
    warmup = round(steps * warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[schedule]
    return min_ratio + (1 - min_ratio) * left
