"""Token sequences with common beginnings as a tree: what several of them share is computed once.

The tokens of a tree lie one after the other as in a depth-first walk, so a branch's descendants are
the tokens right behind it. Attention goes branch by branch: each token attends to its own branch up
to itself, and all descendants of a branch attend to it in one block without a mask. The two are
softmaxes over parts of the keys; their logsumexps say how to put them together (the online softmax
of Milakov & Gimelshein 2018, arXiv 1805.02867). No work is done for tokens that are not attended to.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from steadyphi.model import Rotary, flash_over_documents
from steadyphi.model_config import PhiConfig

Run = tuple[int, int]


@dataclass
class Branch:
    """Tokens `start` to `end` of the walk, `depth` tokens below the root; descendants reach to `last`."""

    start: int
    end: int
    depth: int
    level: int  # how many branches lie above it
    last: int = 0


class Walk:
    """The depth-first walk of sequences in lexical order.

    tokens: of all branches, in the order of the walk.
    depths: each token's position in its sequence.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.branches: list[Branch] = []
        self._path: list[Branch] = []  # from the root to the last token
        self._where: list[int] = []  # the walk's index of each token of the last sequence
        self._sequence: tuple[int, ...] = ()

    def new_tokens(self, sequence: tuple[int, ...]) -> int:
        """Return how many tokens `add` would append."""
        return len(sequence) - _common(self._sequence, sequence)

    def add(self, sequence: tuple[int, ...]) -> list[int]:
        """Append a sequence, lexically behind the last one, and return where its tokens lie."""
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
        """Close all branches; nothing may be added any more."""
        self._cut(0)
        self.branches.sort(key=lambda branch: branch.start)

    def _cut(self, depth: int) -> None:
        """Leave the branches below `depth`; the one that goes across it becomes two."""
        end = len(self.tokens)
        while self._path and self._path[-1].depth + _length(self._path[-1]) > depth:
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


def _length(branch: Branch) -> int:
    return branch.end - branch.start


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Return how many tokens two sequences begin with in common."""
    if a == b[: len(a)]:
        return len(a)
    return next(i for i, (x, y) in enumerate(itertools.zip_longest(a, b)) if x != y)


class Tree(Rotary):
    """Attention over a finished walk: the context of every layer (`steadyphi.model.Context`)."""

    def __init__(self, config: PhiConfig, walk: Walk, device: torch.device) -> None:
        super().__init__(config, torch.tensor(walk.depths, device=device))
        own = [(b.start, b.end) for b in walk.branches]
        self.own = _Blocks(own, own, device)
        self.above: list[_Blocks] = []
        forks = [b for b in walk.branches if b.last > b.end]
        for level in sorted({b.level for b in forks}):
            here = [b for b in forks if b.level == level]
            below, own = [(b.end, b.last) for b in here], [(b.start, b.end) for b in here]
            self.above.append(_Blocks(below, own, device))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
        """Attention of q, k, v (T, n_head, head_size), each token to those on its path from the root."""
        out, weight = self.own.attend(q, k, v, causal=True)
        for blocks in self.above:
            more, its_weight = blocks.attend(q, k, v, causal=False)
            mine = weight[blocks.queries]
            share = torch.sigmoid(its_weight - mine)[..., None]
            out[blocks.queries] = torch.lerp(out[blocks.queries], more, share)
            weight[blocks.queries] = torch.logaddexp(mine, its_weight)
        return out.to(q.dtype)


class _Blocks:
    """Attention of runs of queries to runs of keys, each run (first, behind the last) token of the walk.

    No query is in two of them.
    """

    def __init__(self, queries: list[Run], keys: list[Run], device: torch.device) -> None:
        self.queries, self.keys = (
            torch.cat([torch.arange(a, b, device=device) for a, b in runs]) for runs in (queries, keys)
        )
        self.lengths = [(b - a, d - c) for (a, b), (c, d) in zip(queries, keys, strict=True)]
        ends = [[0, *itertools.accumulate(sizes)] for sizes in zip(*self.lengths, strict=True)]
        self._bounds = [torch.tensor(each, device=device).int() for each in ends]
        # Blocks of one shape share a call; where a block's tokens lie among those of all blocks.
        self._shapes: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        places: dict[tuple[int, int], list[list[int]]] = {}
        for shape, *firsts in zip(self.lengths, *ends, strict=False):
            places.setdefault(shape, []).append(firsts)
        for shape, found in places.items():
            first = torch.tensor(found, device=device)
            query, key = (first[:, i : i + 1] + torch.arange(shape[i], device=device) for i in (0, 1))
            self._shapes[shape] = (query, key)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
        """Return the output (queries, n_head, head_size) and the logsumexp (queries, n_head), in float32."""
        q, k, v = q[self.queries], k[self.keys], v[self.keys]
        varlen_attn = flash_over_documents() if q.is_cuda and q.dtype != torch.float32 else None
        if varlen_attn is not None:
            from torch.nn.attention.varlen import AuxRequest

            longest = [max(n[which] for n in self.lengths) for which in (0, 1)]
            window = (-1, 0) if causal else (-1, -1)
            request = AuxRequest(lse=True)
            out, weight = varlen_attn(
                q, k, v, *self._bounds, *longest, window_size=window, return_aux=request
            )
            return out.float(), weight.T.contiguous()
        out = torch.empty(q.shape, device=q.device)
        weight = torch.empty(q.shape[:2], device=q.device)
        for query, key in self._shapes.values():
            some, its_weight = _with_logsumexp(
                q[query].transpose(1, 2), k[key].transpose(1, 2), v[key].transpose(1, 2), causal
            )
            out[query] = some.transpose(1, 2).float()
            weight[query] = its_weight.transpose(1, 2)
        return out, weight


def _with_logsumexp(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Attention of (blocks, n_head, length, head_size), and the logsumexp of each query's scores.

    torch's public function keeps the latter to itself; the kernels below it return both.
    """
    if q.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
    out, weight, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal)
    return out, weight[..., : q.shape[2]]  # the kernel pads it
