"""How new tokens attend to a cache of keys and values: a prompt, one token a row, or several of one row.

Each context writes the new keys and values into a layer's cache before it attends. Made once a forward
pass, and shared by all layers.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from steadyphi.model import Documents
from steadyphi.model_config import PhiConfig

# Numbers (positions x width) that one attention call may read in vain, before two calls are cheaper: a call
# costs about 50 microseconds on a CPU, however little it reads.
WASTE = 250_000


class Step(Protocol):
    """A context that is told the layer's cache too: keys and values (rows, n_head, capacity, head_size)."""

    def rotate(self, x: Tensor) -> Tensor: ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor: ...


class Prompts:
    """Whole prompts of any lengths, packed, into empty rows from `first` on."""

    def __init__(self, config: PhiConfig, lengths: Sequence[int], first: int, device: torch.device) -> None:
        self.documents = Documents(config, lengths, device)
        self.rotate = self.documents.rotate
        self.first = first

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        lengths = self.documents.lengths
        for row, (some_k, some_v) in enumerate(
            zip(k.split(lengths), v.split(lengths), strict=True), self.first
        ):
            keys[row, :, : len(some_k)] = some_k.transpose(0, 1)
            values[row, :, : len(some_v)] = some_v.transpose(0, 1)
        return self.documents.attend(q, k, v, 0.0)


class Placed:
    """Tokens at given rows of the rotary tables cos and sin, (T, 1, rope_n_elem) each."""

    def __init__(self, cos: Tensor, sin: Tensor) -> None:
        self.cos, self.sin = cos, sin

    def rotate(self, x: Tensor) -> Tensor:
        """Rotate as `steadyphi.model.Rotary` does, but in place and with half as many operations.

        sin has its first half negated, so that the halves of x need no negation, only to change places.
        """
        turned = x[..., : self.cos.shape[-1]]
        wide = turned.float()
        swapped = wide.roll(self.cos.shape[-1] // 2, -1)
        turned.copy_(swapped.mul_(self.sin).addcmul_(wide, self.cos))
        return x


class OneEach(Placed):
    """One new token for each row, behind the `lengths` tokens that the row has; it sees its own row alone."""

    def __init__(
        self, cos: Tensor, sin: Tensor, lengths: Sequence[int], width: int, dtype: torch.dtype
    ) -> None:
        device = cos.device
        places = torch.tensor(lengths, device=device)
        super().__init__(cos[places], sin[places])
        self.index = (torch.arange(len(lengths), device=device), slice(None), places)
        self.groups: list[tuple[slice, int, Tensor | None]] = []
        for group in groups([n + 1 for n in lengths], width):
            own = places[group] + 1
            longest = max(lengths[group]) + 1
            mask = None
            if min(lengths[group]) + 1 < longest:
                beyond = torch.arange(longest, device=device) >= own[:, None]
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
    """`count` new tokens of row 0, behind the `length` that it has."""

    def __init__(self, cos: Tensor, sin: Tensor, length: int, count: int) -> None:
        super().__init__(cos[length : length + count], sin[length : length + count])
        self.start, self.end = length, length + count
        self.mask = None
        if count > 1:
            at = torch.arange(self.end, device=cos.device)
            self.mask = at <= at[self.start :, None]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys[0, :, self.start : self.end] = k.transpose(0, 1)
        values[0, :, self.start : self.end] = v.transpose(0, 1)
        q = q.to(keys.dtype).transpose(0, 1)[None]
        seen_keys, seen_values = keys[:1, :, : self.end], values[:1, :, : self.end]
        out = F.scaled_dot_product_attention(q, seen_keys, seen_values, attn_mask=self.mask)
        return out[0].transpose(0, 1).to(k.dtype)


def groups(lengths: Sequence[int], width: int) -> Iterator[slice]:
    """Divide neighbouring rows into groups that attend in one call, padded in thought to their longest."""
    start, total, longest = 0, 0, 0
    for row, length in enumerate(lengths):
        total, longest = total + length, max(longest, length)
        if ((row - start + 1) * longest - total) * width > WASTE:
            yield slice(start, row)
            start, total, longest = row, length, length
    yield slice(start, len(lengths))
