"""AdamW with decay groups, and the learning rate over a run."""

import math
from typing import Literal

import torch
from torch import nn

Schedule = Literal["cosine", "linear", "constant"]


def make_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019) over the parameters that train.

    Matrices decay; biases and norms, which have one dimension, do not.
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
    """Return what the peak learning rate is multiplied with at `step` (0 ≤ step < steps).

    A linear warm-up over `warmup_ratio` of the run, whose first step is not lost at zero; then half a
    cosine or a straight line down to `min_ratio`, reached at the last step, or no change.
    """
    warmup = round(steps * warmup_ratio)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[schedule]
    return min_ratio + (1 - min_ratio) * left
