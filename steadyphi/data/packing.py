"""Tokenized examples, packed into batches by concatenation, without padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Example:
    """One training document; the loss is on the tokens from `prompt` on.

    tokens: the token ids. prompt: the number of leading tokens that are the prompt and have no loss.
    rendering: which of the renderings of its row this is, from 0; the epochs take the renderings in turn.
    """

    tokens: list[int]
    prompt: int
    rendering: int = 0


@dataclass(frozen=True)
class Batch:
    """Packed documents with the positions that have a loss.

    tokens: (T,) token ids. lengths: one per document, summing to T.
    at: (S,) positions whose next token is supervised. targets: (S,) ids of those next tokens.
    """

    tokens: Tensor
    lengths: list[int]
    at: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the same batch on `device`."""
        return Batch(
            self.tokens.to(device, non_blocking=True),
            self.lengths,
            self.at.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
        )


def collate(examples: Sequence[Example]) -> Batch:
    """Pack examples into one batch, sorted by length, because attention is faster for equal neighbours."""
    tokens: list[int] = []
    at: list[int] = []
    lengths: list[int] = []
    for example in sorted(examples, key=lambda e: len(e.tokens)):
        start, end = len(tokens), len(tokens) + len(example.tokens)
        tokens.extend(example.tokens)
        lengths.append(len(example.tokens))
        # The position before a token predicts it, so a document's first token is never predicted.
        at.extend(range(start + max(example.prompt, 1) - 1, end - 1))
    row = torch.tensor(tokens)
    positions = torch.tensor(at, dtype=torch.long)
    return Batch(row, lengths, positions, row[positions + 1])


def pack(lengths: Sequence[int], most: int, order: Sequence[int]) -> Iterator[list[int]]:
    """Split `order` (indices into `lengths`) into consecutive groups of at most `most` tokens each.

    A single document longer than `most` becomes a separate group.
    """
    group: list[int] = []
    total = 0
    for index in order:
        if group and total + lengths[index] > most:
            yield group
            group, total = [], 0
        group.append(index)
        total += lengths[index]
    if group:
        yield group
