"""Token sequences with common prefixes as a tree: a shared prefix is computed once.

The tokens of a tree are in depth-first order, so the descendants of a branch directly follow it. Attention is
computed branch by branch: each token attends to its own branch up to itself, and all descendants of a branch
attend to it in one block without a mask. Both are softmaxes over parts of the keys, and their logsumexps give
the weights to combine them (the online softmax of Milakov & Gimelshein 2018, arXiv 1805.02867). No work is
done for tokens that are not attended to.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from steadyphi.model import Rotary, flash_over_documents
from steadyphi.model_config import PhiConfig

Run = tuple[int, int]


@dataclass
class Branch:
    """Tokens `start` to `end` of the walk, `depth` tokens below the root. Its descendants end at `last`."""

    start: int
    end: int
    depth: int
    level: int  # number of branches above it
    last: int = 0

    @property
    def reach(self) -> int:
        """Number of tokens from the root to the end of the branch."""
        return self.depth + self.end - self.start


class Walk:
    """The depth-first walk of sequences in lexical order.

    tokens: the tokens of all branches, in the order of the walk.
    depths: the position of each token in its sequence.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.branches: list[Branch] = []
        self._path: list[Branch] = []  # from the root to the last token
        self._where: list[int] = []  # the index in the walk of each token of the last sequence
        self._sequence: tuple[int, ...] = ()

    def new_tokens(self, sequence: tuple[int, ...]) -> int:
        """Return the number of tokens that `add` would append."""
        return len(sequence) - _common(self._sequence, sequence)

    def add(self, sequence: tuple[int, ...]) -> list[int]:
        """Append a sequence, lexically after the last one; return the indices of its tokens in the walk."""
        shared = _common(self._sequence, sequence)
        self._cut(shared)
        start = len(self.tokens)
        if shared < len(sequence):
            end = start + len(sequence) - shared
            self._path.append(Branch(start, end, shared, len(self._path)))
            self.tokens += sequence[shared:]
            self.depths += range(shared, len(sequence))
            self._where = self._where[:shared] + list(range(start, end))
        self._sequence = sequence
        return self._where

    def finish(self) -> None:
        """Close all branches. No sequence may be added afterwards."""
        self._cut(0)
        self.branches.sort(key=lambda branch: branch.start)

    def _cut(self, depth: int) -> None:
        """Close the branches below `depth`. A branch that extends across `depth` is split in two."""
        end = len(self.tokens)
        while self._path and self._path[-1].reach > depth:
            branch = self._path.pop()
            branch.last = end
            self.branches.append(branch)
            if branch.depth < depth:
                upper = Branch(branch.start, branch.start + depth - branch.depth, branch.depth, branch.level)
                branch.start, branch.depth = upper.end, depth
                for below in reversed(self.branches):
                    if below.start < branch.start:
                        break
                    below.level += 1
                self._path.append(upper)
                return


def _length(run: Run) -> int:
    return run[1] - run[0]


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Return the length of the common prefix of two sequences."""
    if a == b[: len(a)]:
        return len(a)
    return next(i for i, (x, y) in enumerate(itertools.zip_longest(a, b)) if x != y)


class Tree(Rotary):
    """Attention over a finished walk, as the context of every layer (`steadyphi.model.Context`).

    dtype: that of queries, keys and values.
    """

    def __init__(self, config: PhiConfig, walk: Walk, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(config, torch.tensor(walk.depths, device=device))
        flash = flash_over_documents(device) if dtype != torch.float32 else None
        make = functools.partial(_ragged, flash) if flash else _by_shape
        self.within = make([((b.start, b.end), (b.start, b.end)) for b in walk.branches], device)
        self.above: list[_Blocks] = []
        forks = [b for b in walk.branches if b.last > b.end]
        for level in sorted({b.level for b in forks}):
            here = [b for b in forks if b.level == level]
            self.above += make([((b.end, b.last), (b.start, b.end)) for b in here], device)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
        """Return attention for q, k, v (T, n_head, head_size), each token to its path from the root."""
        out = torch.empty_like(q)
        weight = torch.empty(q.shape[:2], device=q.device)
        for blocks in self.within:
            out[blocks.queries], weight[blocks.queries] = blocks.attend(q, k, v, causal=True)
        for blocks in self.above:
            block_out, block_weight = blocks.attend(q, k, v, causal=False)
            old_weight = weight[blocks.queries]
            share = torch.sigmoid(block_weight - old_weight)[..., None].to(out.dtype)
            out[blocks.queries] = torch.lerp(out[blocks.queries], block_out, share)
            weight[blocks.queries] = torch.logaddexp(old_weight, block_weight)
        return out


class _Blocks(Protocol):
    """Runs of queries, each of which attends to a run of keys. No query is in two runs."""

    queries: slice | Tensor  # the indices of all queries in the walk

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
        """Return the output (queries, n_head, head_size) and the logsumexp (queries, n_head)."""
        ...


def _by_shape(pairs: list[tuple[Run, Run]], device: torch.device) -> list["_Blocks"]:
    """Return blocks for runs (queries, keys). Runs of one shape share a call, so nothing is padded."""
    shapes: dict[Run, list[tuple[Run, Run]]] = {}
    for pair in pairs:
        shapes.setdefault((_length(pair[0]), _length(pair[1])), []).append(pair)
    return [_Equal(each, device) for each in shapes.values()]


def _ragged(flash: Callable[..., Any], pairs: list[tuple[Run, Run]], device: torch.device) -> list["_Blocks"]:
    return [_Ragged(flash, pairs, device)] if pairs else []


class _Equal:
    """Blocks of one shape."""

    def __init__(self, pairs: list[tuple[Run, Run]], device: torch.device) -> None:
        queries, keys = zip(*pairs, strict=True)
        self.blocks = len(pairs)
        self.queries, self.keys = _places(queries, device), _places(keys, device)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
        """See `_Blocks`."""
        parts = ((q, self.queries), (k, self.keys), (v, self.keys))
        q, k, v = (x[at].unflatten(0, (self.blocks, -1)).transpose(1, 2) for x, at in parts)
        out, weight = _with_logsumexp(q, k, v, causal)
        return out.transpose(1, 2).flatten(0, 1), weight.transpose(1, 2).flatten(0, 1)


class _Ragged:
    """Blocks of any shapes in one call of `flash` (`steadyphi.model.flash_over_documents`)."""

    def __init__(self, flash: Callable[..., Any], pairs: list[tuple[Run, Run]], device: torch.device) -> None:
        self.flash = flash
        queries, keys = zip(*pairs, strict=True)
        self.queries, self.keys = _places(queries, device), _places(keys, device)
        lengths = [[_length(run) for run in runs] for runs in (queries, keys)]
        self.longest = [max(each) for each in lengths]
        self.bounds = [torch.tensor([0, *itertools.accumulate(n)], device=device).int() for n in lengths]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
        """See `_Blocks`."""
        from torch.nn.attention.varlen import AuxRequest

        window, request = (-1, 0) if causal else (-1, -1), AuxRequest(lse=True)
        out, weight = self.flash(
            q[self.queries],
            k[self.keys],
            v[self.keys],
            *self.bounds,
            *self.longest,
            window_size=window,
            return_aux=request,
        )
        return out, weight.T


def _places(runs: Sequence[Run], device: torch.device) -> slice | Tensor:
    """Return an index of the runs' tokens: a slice (no copy) if the runs are contiguous, else a tensor."""
    if all(before[1] == after[0] for before, after in itertools.pairwise(runs)):
        return slice(runs[0][0], runs[-1][1])
    return torch.cat([torch.arange(first, end, device=device) for first, end in runs])


def _with_logsumexp(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Return attention for q, k, v (blocks, n_head, length, head_size), and each query's logsumexp of scores.

    torch's public function does not return the logsumexp; the kernels that it calls return both.
    """
    if q.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
    out, weight, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal)
    return out, weight[..., : q.shape[2]]  # the kernel pads it
