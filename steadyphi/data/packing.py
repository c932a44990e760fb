"""Tokenized examples, packed into batches by concatenation, without padding."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Example:
    """One training document; the loss is on the tokens from `prompt` on, except the later prompts.

    tokens: the token ids. prompt: the number of leading tokens that are the prompt and have no loss.
    rendering: which of the renderings of its row this is, from 0; the epochs take the renderings in turn.
    later: begin and end of each later prompt of a dialogue, in one list: begin, end, begin, end, …

    The last token of a dialogue is the end token. It is the target after every answer, but the tokens have it
    at the end only, because a model reads none between the turns of a chat or of a few-shot prompt.
    """

    tokens: list[int]
    prompt: int
    rendering: int = 0
    later: list[int] = field(default_factory=list)

    def answers(self) -> Iterable[range]:
        """Return the positions of the tokens with a loss, one range per answer.

        The first token is never among them, because no token before it predicts it.
        """
        bounds = [max(self.prompt, 1), *self.later, len(self.tokens)]
        return map(range, bounds[::2], bounds[1::2])

    @property
    def supervised(self) -> int:
        """The number of targets: the tokens of the answers, and the end token after each."""
        return sum(map(len, self.answers())) + len(self.later) // 2

    def last_answer(self) -> "Example":
        """Return the example with a loss on the last answer alone; the earlier turns are its prompt."""
        return replace(self, prompt=self.later[-1], later=[]) if self.later else self

    def shortened(self, most: int) -> "Example":
        """Return the example with at most `most` tokens.

        Whole turns are left out from the end. If the first answer is too long, it is cut, and no end token
        follows it, because the model should not learn to stop there. If the prompt alone is too long, no
        token has a loss.
        """
        if len(self.tokens) <= most:
            return self
        for kept in range(len(self.later) - 2, -1, -2):
            if self.later[kept] < most:
                tokens = [*self.tokens[: self.later[kept]], self.tokens[-1]]
                return replace(self, tokens=tokens, later=self.later[:kept])
        return replace(self, tokens=self.tokens[:most], later=[])


@dataclass(frozen=True)
class Batch:
    """Packed documents with the positions that have a loss.

    tokens: (T,) token ids. lengths: one per document, summing to T.
    at: (S,) positions whose next token is supervised. targets: (S,) ids of the tokens that should be next.
    aligned: (2, A) indices into `at`: the places where two renderings of a row predict the same token of the
        same answer, after which their answers are the same. Empty if renderings are not compared.
    """

    tokens: Tensor
    lengths: list[int]
    at: Tensor
    targets: Tensor
    aligned: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the same batch on `device`."""
        return Batch(
            self.tokens.to(device, non_blocking=True),
            self.lengths,
            self.at.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            self.aligned.to(device, non_blocking=True),
        )


def in_batch_order(examples: Sequence[Example]) -> list[Example]:
    """Return the examples in the order of a batch: by length, because attention then takes less time."""
    return [examples[n] for n in _order(examples)]


def _order(examples: Sequence[Example]) -> list[int]:
    return sorted(range(len(examples)), key=lambda n: len(examples[n].tokens))


def collate(examples: Sequence[Example], pairs: bool = False) -> Batch:
    """Pack examples into one batch, in the order of `in_batch_order`.

    pairs: whether each two consecutive examples are renderings of one row, which are compared.
    """
    tokens: list[int] = []
    at: list[int] = []
    targets: list[int] = []
    lengths: list[int] = []
    bounds: list[list[range]] = [[] for _ in examples]  # of the answers of each example, in `at`
    for n in _order(examples):
        example = examples[n]
        before = len(tokens) - 1  # the position before a token predicts it
        tokens.extend(example.tokens)
        lengths.append(len(example.tokens))
        for answer in example.answers():
            start = len(at)
            at.extend(range(before + answer.start, before + answer.stop))
            targets.extend(example.tokens[answer.start : answer.stop])
            if answer.stop < len(example.tokens):
                at.append(before + answer.stop)
                targets.append(example.tokens[-1])
            bounds[n].append(range(start, len(at)))
    aligned: list[tuple[int, int]] = []
    if pairs:
        for first, second in zip(bounds[::2], bounds[1::2], strict=True):
            for left, right in zip(first, second, strict=False):  # fewer if one was shortened
                aligned += _aligned(targets, left, right)
    return Batch(
        torch.tensor(tokens),
        lengths,
        torch.tensor(at, dtype=torch.long),
        torch.tensor(targets, dtype=torch.long),
        torch.tensor(aligned, dtype=torch.long).reshape(-1, 2).T,
    )


def _aligned(targets: Sequence[int], left: range, right: range) -> Iterator[tuple[int, int]]:
    """Yield the places of the longest common end of two answers, from the last.

    Two formats differ in the white space before an answer, so the first tokens may differ.
    """
    for pair in zip(reversed(left), reversed(right), strict=False):
        if targets[pair[0]] != targets[pair[1]]:
            return
        yield pair


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
