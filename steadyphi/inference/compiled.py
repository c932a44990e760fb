"""A decoding step of fixed shapes, one new token per row, which torch.compile turns into one CUDA graph.

On a GPU, a small model spends most of a step on launching its kernels one by one. A graph is a single launch.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from steadyphi.inference.cache import Cache
from steadyphi.inference.contexts import Placed
from steadyphi.model import Phi

Step = Callable[[Sequence[int]], Tensor]
GRAPH_DEVICES = {"cuda"}
SHAPES = 64  # the most shapes of a cache that are compiled; rounded to powers of two there are fewer


class Whole(Placed):
    """The attention context of one layer: every row attends to its whole cache, through a mask."""

    def __init__(
        self, cos: Tensor, sin: Tensor, index: tuple[Any, ...], mask: Tensor, keys: Tensor, values: Tensor
    ) -> None:
        super().__init__(cos, sin)
        self.index, self.mask, self.keys, self.values = index, mask, keys, values

    def attend(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
        self.keys[self.index] = k.to(self.keys.dtype)
        self.values[self.index] = v.to(self.keys.dtype)
        q = q.to(self.keys.dtype)[:, :, None]
        return F.scaled_dot_product_attention(q, self.keys, self.values, attn_mask=self.mask).to(k.dtype)


class FixedStep:
    """Reads one more token into every row, as `Cache.step` does.

    Dropped rows are computed too, because the shapes are fixed. Caches of one shape share a compiled step.
    compiling: arguments of torch.compile.
    """

    def __init__(self, cache: Cache, **compiling: Any) -> None:
        self.cache, self.rows = cache, cache.keys.shape[1]
        for cached in (cache.keys, cache.values):
            # Otherwise the graph copies the cache in and out. Without a guard, because another cache of this
            # shape has another address, for which the graph is recorded again, but not compiled.
            torch._dynamo.mark_static_address(cached, guard=False)
        self.forward = _compiled(**compiling)

    def __call__(self, tokens: Sequence[int]) -> Tensor:
        cache, dropped = self.cache, self.rows - len(tokens)
        both = torch.tensor(
            [[*tokens, *[0] * dropped], [*cache.lengths, *[0] * dropped]], device=cache.device
        )
        x = self.forward(cache.model, both[0], both[1], cache.cos, cache.sin, cache.keys, cache.values)
        cache.lengths = [n + 1 for n in cache.lengths]
        return x[: len(tokens)].clone()  # the next step overwrites the memory of the graph


@functools.cache
def _compiled(**compiling: Any) -> Callable[..., Tensor]:
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    setattr(torch._dynamo.config, limit, max(SHAPES, getattr(torch._dynamo.config, limit)))
    return torch.compile(_forward, fullgraph=True, dynamic=False, **compiling)


def _forward(
    model: Phi, tokens: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """Return the hidden states (rows, n_embd) of one token per row, and write its keys and values.

    tokens, positions: (rows,). cos, sin: those of the cache. keys, values: (n_layer, rows, n_head, capacity,
    head_size).
    """
    rows, capacity = keys.shape[1], keys.shape[3]
    index = (torch.arange(rows, device=positions.device), slice(None), positions)
    mask = (torch.arange(capacity, device=positions.device) <= positions[:, None])[:, None, None]
    turns = cos[positions], sin[positions]
    layers = zip(keys.unbind(), values.unbind(), strict=True)
    return model.run(tokens, [Whole(*turns, index, mask, k, v) for k, v in layers])


def fixed_cache(model: Phi, rows: int, capacity: int) -> Cache:
    """Return a cache for `rows` texts whose shape is rounded up to powers of two, so they are few.

    rows, capacity: as in `Cache`. The capacity is at most the model's context.
    """
    cache = Cache(model, _rounded(rows), min(model.config.block_size, _rounded(capacity)))
    cache.lengths = cache.lengths[:rows]
    return cache


def _rounded(number: int) -> int:
    return 1 << (number - 1).bit_length()


def can_compile(device: torch.device) -> bool:
    """Return whether steps are compiled on a device. Without a GPU this prints a note."""
    if device.type not in GRAPH_DEVICES:
        print("note: there is no GPU, so the model is not compiled", file=sys.stderr)
    return device.type in GRAPH_DEVICES
