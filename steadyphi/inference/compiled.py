"""A decoding step of fixed shapes, one new token per row, which torch.compile turns into one CUDA graph.

On a GPU, a small model spends most of a step on launching its kernels one by one. A graph is a single launch.
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

    Dropped rows are computed too, because the shapes are fixed. compiling: arguments of torch.compile.
    """

    def __init__(self, cache: Cache, **compiling: Any) -> None:
        self.cache, self.rows = cache, cache.keys.shape[1]
        for cached in (cache.keys, cache.values):
            torch._dynamo.mark_static_address(cached)  # otherwise the graph copies the cache in and out
        self.forward = torch.compile(self._forward, fullgraph=True, dynamic=False, **compiling)

    def __call__(self, tokens: Sequence[int]) -> Tensor:
        cache, dropped = self.cache, self.rows - len(tokens)
        both = torch.tensor(
            [[*tokens, *[0] * dropped], [*cache.lengths, *[0] * dropped]], device=cache.device
        )
        x = self.forward(both[0], both[1])
        cache.lengths = [n + 1 for n in cache.lengths]
        return x[: len(tokens)].clone()  # the next step overwrites the memory of the graph

    def _forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        cache = self.cache
        cos, sin = cache.cos[positions], cache.sin[positions]
        index = (torch.arange(self.rows, device=positions.device), slice(None), positions)
        mask = (torch.arange(cache.capacity, device=positions.device) <= positions[:, None])[:, None, None]
        layers = zip(cache.keys.unbind(), cache.values.unbind(), strict=True)
        return cache.model.run(tokens, [Whole(cos, sin, index, mask, k, v) for k, v in layers])


def step_for(cache: Cache, compiled: bool) -> Step:
    """Return the function that reads one more token into every row of the cache.

    compiled: return a step for torch.compile. Without a GPU this prints a note and has no other effect.
    """
    if not compiled:
        return cache.step
    if cache.device.type != "cuda":
        print("note: there is no GPU, so the model is not compiled", file=sys.stderr)
        return cache.step
    return FixedStep(cache, mode="reduce-overhead")
