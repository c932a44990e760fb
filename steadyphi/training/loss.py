"""The training loss: cross-entropy over the supervised tokens of a packed batch, computed in chunks."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from steadyphi.budget.loss_chunks import CHUNK, ROWS
from steadyphi.data.packing import Batch
from steadyphi.model import Phi

PAIRS = CHUNK // 8  # aligned places whose logits, twice in float32, are in memory at the same time


def loss_sum(model: Phi, batch: Batch, consistency: float = 0.0) -> Tensor:
    """Return the summed cross-entropy (nats, float32) over the batch's supervised tokens.

    With `consistency`, that many times the Jensen-Shannon divergence at the batch's aligned places is added,
    once for each of the two renderings. The head runs at supervised positions only. The loss is a sum, not a
    mean, so that the caller can average over all supervised tokens of a step, however the step was split
    into batches.
    """
    hidden = model.hidden(batch.tokens, batch.lengths)[batch.at]
    total = _cross_entropy(model.lm_head, hidden, batch)
    if consistency and batch.aligned.numel():
        total = total + 2 * consistency * _divergence(model.lm_head, hidden, batch.aligned)
    return total


def _cross_entropy(head: nn.Module, hidden: Tensor, batch: Batch) -> Tensor:
    if type(head) is nn.Linear:
        learns = torch.is_grad_enabled()  # an autograd Function cannot query this itself
        weight, bias = (p if learns else p.detach() for p in (head.weight, head.bias))
        total: Tensor = LinearCrossEntropy.apply(hidden, weight, bias, batch.targets)
        return total
    # An adapted head is not a single matrix. Its logits are computed in chunks, and recomputed in backward.
    chunks = zip(hidden.split(CHUNK), batch.targets.split(CHUNK), strict=True)
    return torch.stack([checkpoint(_chunk_loss, head, h, t, use_reentrant=False) for h, t in chunks]).sum()


def _divergence(head: nn.Module, hidden: Tensor, aligned: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence (nats) of the predictions at aligned places (2, A), summed.

    Its logits are computed in chunks too, and again in the backward pass.
    """
    pairs = hidden[aligned].split(PAIRS, dim=1)
    return torch.stack(
        [checkpoint(_chunk_divergence, head, pair, use_reentrant=False) for pair in pairs]
    ).sum()


def _chunk_divergence(head: nn.Module, hidden: Tensor) -> Tensor:
    """Return the summed divergence of `hidden`, (2, places, n_embd); Lin 1991, equation 4.1."""
    logits = head(hidden.flatten(0, 1)).float()  # a matrix, because an adapted head takes nothing else
    logprobs = F.log_softmax(logits, dim=-1).unflatten(0, (2, -1))
    middle = torch.logsumexp(logprobs, dim=0) - math.log(2)
    return F.kl_div(middle.expand_as(logprobs), logprobs, reduction="sum", log_target=True) / 2


@torch.no_grad()
def validate(model: Phi, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the summed loss as `loss_sum` does, and whether each target is the most likely token, (S,)."""
    hidden = model.hidden(batch.tokens, batch.lengths)[batch.at]
    total = torch.zeros((), device=hidden.device)
    hits = []
    for part, targets in zip(hidden.split(CHUNK), batch.targets.split(CHUNK), strict=True):
        logits = model.lm_head(part).float()
        total += F.cross_entropy(logits, targets, reduction="sum")
        hits.append(logits.argmax(dim=-1) == targets)
    return total, torch.cat(hits)


def _chunk_loss(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(head(hidden).float(), targets, reduction="sum")


class LinearCrossEntropy(torch.autograd.Function):
    """Linear layer fused with summed cross-entropy, in chunks; no logits are kept for the backward pass.

    The gradients are computed in the forward pass, as in Liger Kernel (Hsu et al. 2024, arXiv 2410.10989,
    section 3.2). The gradient of the logits z of a token with target t is softmax(z) - onehot(t). Logits
    are converted to float32 and the loss is float32, whereas torch's `linear_cross_entropy` returns a
    bfloat16 loss, for example 8.5 instead of 8.53.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss, a float32 scalar.

        Shapes: hidden (S, n_embd), weight (V, n_embd), bias (V,), targets (S,).
        """
        device = hidden.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        wants_hidden, wants_head = ctx.needs_input_grad[:2]
        rounded, shift = weight.to(kind), bias.to(kind)
        d_hidden = torch.empty_like(hidden) if wants_hidden else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_head else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if wants_head else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        # All chunks share one buffer: allocating memory for each chunk costs as much as the arithmetic.
        buffer = hidden.new_empty((min(CHUNK, len(hidden)), len(weight)), dtype=kind)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden), CHUNK):
                part = hidden[start : start + CHUNK].to(kind)
                logits = torch.addmm(shift, part, rounded.t(), out=buffer[: len(part)])
                total += _softmax_less_target(logits, targets[start : start + CHUNK], d_bias)
                if d_weight is not None:
                    d_weight += logits.t() @ part
                if d_hidden is not None:
                    d_hidden[start : start + CHUNK] = logits @ rounded
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        ctx.kinds = weight.dtype, bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *scales: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients that `forward` computed by the gradient of the sum."""
        (scale,) = scales
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        weight, bias = ctx.kinds
        return (
            d_hidden * scale.to(d_hidden.dtype) if d_hidden is not None else None,
            (d_weight.mul_(scale)).to(weight) if d_weight is not None else None,
            (d_bias.mul_(scale)).to(bias) if d_bias is not None else None,
            None,
        )


def _softmax_less_target(logits: Tensor, targets: Tensor, d_bias: Tensor | None) -> Tensor:
    """Return the summed loss of logits (S, V), overwrite them with their gradient and add it to `d_bias`.

    The computation is in float32. On a CPU it takes a few rows at a time, so that they stay in the cache.
    """
    rows = ROWS if logits.device.type == "cpu" else len(logits)
    wide = logits.new_empty((min(rows, len(logits)), logits.shape[1]), dtype=torch.float32)
    total = wide.new_zeros(())
    for part, goals in zip(logits.split(rows), targets[:, None].split(rows), strict=True):
        z = part if part.dtype == torch.float32 else wide[: len(part)].copy_(part)
        torch.log_softmax(z, dim=1, out=z)
        total -= z.gather(1, goals).sum()
        z.exp_().scatter_add_(1, goals, z.new_full(goals.shape, -1.0))
        if d_bias is not None:
            d_bias += z.sum(dim=0)
        if z is not part:
            part.copy_(z)
    return total
