"""One new token a row at fixed shapes, which torch.compile makes one CUDA graph of.

On a GPU a step of a small model is mostly the launching of its kernels, one by one; a graph is one launch.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from steadyphi.inference.cache import Cache
from steadyphi.inference.contexts import Placed

Step = Callable[[Sequence[int]], Tensor]


class Whole(Placed):
    """A layer's context: every row attends to its whole cache, behind a mask."""

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
    """Does what `Cache.step` does; rows that have been dropped are computed all the same."""

    def __init__(self, cache: Cache, **compiling: Any) -> None:
        self.cache, self.rows = cache, cache.keys.shape[1]
        for cached in (cache.keys, cache.values):
            torch._dynamo.mark_static_address(cached)  # else a graph would copy the cache in and out
        self.forward = torch.compile(self._forward, fullgraph=True, dynamic=False, **compiling)

    def __call__(self, tokens: Sequence[int]) -> Tensor:
        cache, gone = self.cache, self.rows - len(tokens)
        both = torch.tensor([[*tokens, *[0] * gone], [*cache.lengths, *[0] * gone]], device=cache.device)
        x = self.forward(both[0], both[1])
        cache.lengths = [n + 1 for n in cache.lengths]
        return x[: len(tokens)].clone()  # the graph's own memory is written over by the next step

    def _forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        cache = self.cache
        cos, sin = cache.cos[places], cache.sin[places]
        index = (torch.arange(self.rows, device=places.device), slice(None), places)
        mask = (torch.arange(cache.capacity, device=places.device) <= places[:, None])[:, None, None]
        layers = zip(cache.keys.unbind(), cache.values.unbind(), strict=True)
        return cache.model.run(tokens, [Whole(cos, sin, index, mask, k, v) for k, v in layers])


def step_for(cache: Cache, compiled: bool) -> Step:
    """Return how `cache` takes a step: compiled where that is asked for and there is a GPU."""
    if not compiled:
        return cache.step
    if cache.device.type != "cuda":
        print("note: compiling is for a GPU; going on without it", file=sys.stderr)
        return cache.step
    return FixedStep(cache, mode="reduce-overhead")
