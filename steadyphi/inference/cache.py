"""The key-value cache of generation: allocated once, with one row per text."""

from collections.abc import Sequence

import torch
from torch import Tensor

from steadyphi.inference.contexts import OneEach, Prompts, Several, Step
from steadyphi.model import Phi, Rotary
from steadyphi.model_config import PhiConfig


class Cache:
    """The keys and values of `rows` texts of up to `capacity` tokens each.

    `lengths` holds the number of tokens in each row. On a CPU the cache is float32, whatever the dtype of the
    model: attention to bfloat16 keys takes two to eight times as long there, because the keys are widened at
    each use.
    """

    def __init__(self, model: Phi, rows: int, capacity: int) -> None:
        config, weight = model.config, model.get_parameter("transformer.wte.weight")
        if capacity > config.block_size:
            raise ValueError(f"capacity {capacity} is more than the model's context of {config.block_size}")
        self.model, self.config, self.capacity, self.device = model, config, capacity, weight.device
        self.dtype = torch.float32 if weight.device.type == "cpu" else weight.dtype
        shape = (config.n_layer, rows, config.n_head, capacity, config.head_size)
        # Zeros, because masked entries must still be numbers. Pages that are never written take no memory.
        self.keys = torch.zeros(shape, dtype=self.dtype, device=self.device)
        self.values = torch.zeros_like(self.keys)
        self.lengths = [0] * rows
        self.cos, self.sin = tables(config, capacity, self.device)
        self.layers = [Layer(k, v) for k, v in zip(self.keys, self.values, strict=True)]

    def read(self, prompts: Sequence[Sequence[int]], first: int = 0) -> Tensor:
        """Read whole prompts into consecutive empty rows, starting at row `first`.

        Returns the hidden states (len(prompts), n_embd) of the last token of each prompt.
        """
        lengths = [len(prompt) for prompt in prompts]
        tokens = torch.tensor([t for prompt in prompts for t in prompt], device=self.device)
        x = self._run(tokens, Prompts(self.config, lengths, first, self.device))
        self.lengths[first : first + len(lengths)] = lengths
        return x[torch.tensor(lengths, device=self.device).cumsum(0) - 1]

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Read one more token into every row; return the hidden states (rows, n_embd)."""
        if len(tokens) == 1:
            return self.extend(tokens)
        new = OneEach(self.cos, self.sin, self.lengths, self.config.n_embd, self.dtype)
        x = self._run(torch.tensor(tokens, device=self.device), new)
        self.lengths = [n + 1 for n in self.lengths]
        return x

    def extend(self, tokens: Sequence[int]) -> Tensor:
        """Read more tokens into row 0; return the hidden states (len(tokens), n_embd)."""
        new = Several(self.cos, self.sin, self.lengths[0], len(tokens))
        x = self._run(torch.tensor(tokens, device=self.device), new)
        self.lengths[0] += len(tokens)
        return x

    def truncate(self, length: int) -> None:
        """Keep only the first `length` tokens of row 0."""
        self.lengths[0] = min(self.lengths[0], length)

    def drop(self, rows: Sequence[int]) -> list[int]:
        """Remove rows, so that no more time is spent on them.

        The last row replaces a removed one. Returns the former index of each remaining row.
        """
        order = list(range(len(self.lengths)))
        for row in sorted(rows, reverse=True):  # so that the last row is never one to be removed
            length, last = self.lengths[-1], len(order) - 1
            if row != last:
                for cached in (self.keys, self.values):
                    cached[:, row, :, :length] = cached[:, last, :, :length]
                self.lengths[row], order[row] = length, order[last]
            self.lengths.pop()
            order.pop()
        return order

    def _run(self, tokens: Tensor, step: Step) -> Tensor:
        for layer in self.layers:
            layer.step = step
        return self.model.run(tokens, self.layers)


class Layer:
    """The part of a cache that belongs to one layer, as the attention context of that layer."""

    step: Step

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values

    def rotate(self, x: Tensor) -> Tensor:
        return self.step.rotate(x)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
        return self.step.attend(q, k, v, self.keys, self.values)


def tables(config: PhiConfig, capacity: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cos and sin (capacity, 1, rope_n_elem) of all positions, with the first half of sin negated."""
    rotary = Rotary(config, torch.arange(capacity, device=device))
    return torch.cat((rotary.cos, rotary.cos), dim=-1), torch.cat((-rotary.sin, rotary.sin), dim=-1)
