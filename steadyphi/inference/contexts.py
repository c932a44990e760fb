"""How new tokens attend to the key-value cache: whole prompts, one token per row, or several tokens of a row.

A context first writes the new keys and values into the cache of a layer, and then computes the attention. It
is created once per forward pass and shared by all layers.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from steadyphi.model import Documents
from steadyphi.model_config import PhiConfig

# The most masked keys, times the width of the model, that one attention call may read. With more, two calls
# are faster: on a CPU a call costs about 50 microseconds, however little it reads.
WASTE = 250_000


class Step(Protocol):
    """A context that also takes a layer's cache: keys and values (rows, n_head, capacity, head_size)."""

    def rotate(self, x: Tensor) -> Tensor: ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor: ...


class Prompts:
    """Whole prompts of any lengths, packed, for consecutive empty rows starting at row `first`."""

    def __init__(self, config: PhiConfig, lengths: Sequence[int], first: int, device: torch.device) -> None:
        self.documents = Documents(config, lengths, device)
        self.rotate = self.documents.rotate
        self.first = first

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        lengths = self.documents.lengths
        for row, (row_k, row_v) in enumerate(
            zip(k.split(lengths), v.split(lengths), strict=True), self.first
        ):
            keys[row, :, : len(row_k)] = row_k.transpose(0, 1)
            values[row, :, : len(row_v)] = row_v.transpose(0, 1)
        return self.documents.attend(q, k, v, 0.0)


class Placed:
    """Tokens with the rotary tables of their positions: cos and sin, (T, 1, rope_n_elem) each."""

    def __init__(self, cos: Tensor, sin: Tensor) -> None:
        self.cos, self.sin = cos, sin

    def rotate(self, x: Tensor) -> Tensor:
        """Rotate as `steadyphi.model.Rotary` does, but in place and with half as many operations.

        The first half of sin is already negated, so the halves of x only have to be swapped.
        """
        turned = x[..., : self.cos.shape[-1]]
        wide = turned.float()
        swapped = wide.roll(self.cos.shape[-1] // 2, -1)
        turned.copy_(swapped.mul_(self.sin).addcmul_(wide, self.cos))
        return x


class OneEach(Placed):
    """One new token per row, after the tokens that the row already has. It attends to its own row only.

    lengths: number of tokens in each row. width: n_embd. dtype: that of the cache.
    """

    def __init__(
        self, cos: Tensor, sin: Tensor, lengths: Sequence[int], width: int, dtype: torch.dtype
    ) -> None:
        device = cos.device
        positions = torch.tensor(lengths, device=device)
        super().__init__(cos[positions], sin[positions])
        self.index = (torch.arange(len(lengths), device=device), slice(None), positions)
        self.groups: list[tuple[slice, int, Tensor | None]] = []
        # A GPU reads masked keys faster than it starts another kernel.
        here = groups([n + 1 for n in lengths], width) if device.type == "cpu" else [slice(0, len(lengths))]
        for group in here:
            ends = positions[group] + 1
            longest = max(lengths[group]) + 1
            mask = None
            if min(lengths[group]) + 1 < longest:
                beyond = torch.arange(longest, device=device) >= ends[:, None]
                mask = torch.zeros(beyond.shape, dtype=dtype, device=device).masked_fill_(beyond, -torch.inf)
                mask = mask[:, None, None]
            self.groups.append((group, longest, mask))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys[self.index] = k.to(keys.dtype)
        values[self.index] = v.to(keys.dtype)
        q = q.to(keys.dtype)[:, :, None]
        outs = [
            F.scaled_dot_product_attention(
                q[rows], keys[rows, :, :longest], values[rows, :, :longest], attn_mask=mask
            )
            for rows, longest, mask in self.groups
        ]
        return (outs[0] if len(outs) == 1 else torch.cat(outs)).to(k.dtype)


class Several(Placed):
    """`count` new tokens of row 0, after the `length` tokens that it already has."""

    def __init__(self, cos: Tensor, sin: Tensor, length: int, count: int) -> None:
        super().__init__(cos[length : length + count], sin[length : length + count])
        self.start, self.end = length, length + count
        self.mask = None
        if count > 1:
            positions = torch.arange(self.end, device=cos.device)
            self.mask = positions <= positions[self.start :, None]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys[0, :, self.start : self.end] = k.transpose(0, 1)
        values[0, :, self.start : self.end] = v.transpose(0, 1)
        q = q.to(keys.dtype).transpose(0, 1)[None]
        seen_keys, seen_values = keys[:1, :, : self.end], values[:1, :, : self.end]
        out = F.scaled_dot_product_attention(q, seen_keys, seen_values, attn_mask=self.mask)
        return out[0].transpose(0, 1).to(k.dtype)


def groups(lengths: Sequence[int], width: int) -> Iterator[slice]:
    """Divide consecutive rows into groups, each of which attends in one call.

    All rows of a group read as many keys as its longest row has; a mask hides the rest, at most `WASTE`.
    lengths: number of keys of each row. width: n_embd.
    """
    start, total, longest = 0, 0, 0
    for row, length in enumerate(lengths):
        total, longest = total + length, max(longest, length)
        if ((row - start + 1) * longest - total) * width > WASTE:
            yield slice(start, row)
            start, total, longest = row, length, length
    yield slice(start, len(lengths))
