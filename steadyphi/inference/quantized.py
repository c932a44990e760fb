"""The weights of a model rounded to eight or four bits, to measure what quantization costs in answers.

The numbers are those of llama.cpp's types Q8_0 and Q4_0: each 32 numbers of a row share a scale in float16,
and are rounded to the nearest multiple of it. They are then stored in the dtype of the model. So neither
memory nor time is saved, because this only measures a model that another tool will run quantized.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from steadyphi.errors import SteadyPhiError
from steadyphi.model import Phi

BITS = (8, 4)
BLOCK = 32  # numbers with a scale in common
ROWS = 4096  # rows that are rounded at a time


def quantize(model: Phi, bits: int) -> Phi:
    """Round the matrices of a model to `bits` bits, one after the other, and return the model.

    With four bits the embedding and the output head have eight, because their errors cost the most; llama.cpp
    keeps the head of a Q4_0 file more exact too. Biases and norms are not rounded.
    bits: one of `BITS`. Raises SteadyPhiError if a row has no whole number of blocks.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            inside = name.startswith("transformer.h.")
            module.weight.data = _rounded(module.weight.data, bits if inside else 8, name)
    return model


def _rounded(weight: Tensor, bits: int, name: str) -> Tensor:
    if weight.shape[1] % BLOCK:
        raise SteadyPhiError(f"{name}: has rows of {weight.shape[1]} numbers, no multiple of {BLOCK}")
    nearest: Callable[[Tensor], Tensor] = _eight if bits == 8 else _four
    new = torch.empty_like(weight)  # the weight itself may be a memory-mapped file
    for at in range(0, len(weight), ROWS):
        blocks = weight[at : at + ROWS].float().view(-1, BLOCK)
        new[at : at + ROWS] = nearest(blocks).view(-1, weight.shape[1])
    return new


def _eight(blocks: Tensor) -> Tensor:
    """Q8_0: the largest number of a block is ±127 times the scale. Halves are rounded away from zero."""
    scale = blocks.abs().amax(1, keepdim=True) / 127
    steps = blocks * _inverse(scale)
    steps = (steps.abs() + 0.5).floor() * steps.sign()
    return steps * scale.half().float()


def _four(blocks: Tensor) -> Tensor:
    """Q4_0: the number of the largest magnitude is -8 times the scale, and the others at most 7 times."""
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = largest / -8
    steps = (blocks * _inverse(scale) + 8.5).trunc().clamp(0, 15) - 8
    return steps * scale.half().float()


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0.0, 1 / scale)
