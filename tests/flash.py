"""CPU kernels for torch's attention over packed documents, so that the code for a GPU runs on a CPU.

They compute document by document in float32, and return what the kernel of a GPU returns: the output, each
query's logsumexp (n_head, T), and the state of a random generator that nothing uses.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import varlen


def documents(starts: Tensor, key_starts: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield each document's queries and keys."""
    for (a, b), (c, d) in zip(starts.unfold(0, 2, 1), key_starts.unfold(0, 2, 1), strict=True):
        yield slice(int(a), int(b)), slice(int(c), int(d))


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Attention of one document: q (n, n_head, head_size) -> the same, and the logsumexp (n_head, n)."""
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
    if causal:
        assert scores.shape[1] == scores.shape[2]
        scores = scores + torch.full(scores.shape[1:], -torch.inf).triu(1)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v), scores.logsumexp(-1)


def forward(
    q: Tensor, k: Tensor, v: Tensor, starts: Tensor, key_starts: Tensor, longest: int, longest_key: int,
    is_causal: bool, scale: None, window_size: list[int], *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    check(starts, key_starts, longest, longest_key, q, k)
    assert scale is None and window_size == ([-1, 0] if is_causal else [-1, -1])
    outs, weights = zip(
        *(
            attend(q[at].float(), k[keys].float(), v[keys].float(), is_causal)
            for at, keys in documents(starts, key_starts)
        ),
        strict=True,
    )
    return torch.cat(outs).to(q.dtype), torch.cat(weights, -1), torch.zeros(2, dtype=torch.uint64)


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, _out: Tensor, _lse: Tensor, starts: Tensor,
    key_starts: Tensor, longest: int, longest_key: int, is_causal: bool, *_: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    check(starts, key_starts, longest, longest_key, q, k)
    grads = tuple(torch.zeros_like(x) for x in (q, k, v))
    scale = 1 / math.sqrt(q.shape[-1])
    for at, keys in documents(starts, key_starts):
        a, b, c, slope = q[at].float(), k[keys].float(), v[keys].float(), grad[at].float()
        out, lse = attend(a, b, c, is_causal)
        chances = (scale * torch.einsum("qhd,khd->hqk", a, b) - lse[..., None]).exp()
        chances = chances.tril() if is_causal else chances
        changes = torch.einsum("qhd,khd->hqk", slope, c) - (slope * out).sum(-1).T[..., None]
        changes = scale * chances * changes  # of the scores; Dao et al. 2022, arXiv 2205.14135, appendix B.2
        for whole, rows, gradient in (
            (grads[0], at, torch.einsum("hqk,khd->qhd", changes, b)),
            (grads[1], keys, torch.einsum("hqk,qhd->khd", changes, a)),
            (grads[2], keys, torch.einsum("hqk,qhd->khd", chances, slope)),
        ):
            whole[rows] = gradient.to(whole.dtype)
    return grads


def check(starts: Tensor, key_starts: Tensor, longest: int, longest_key: int, q: Tensor, k: Tensor) -> None:
    """What a GPU's kernel relies on: half precision, 32-bit bounds of all tokens, true lengths."""
    assert q.dtype == k.dtype and q.dtype in (torch.bfloat16, torch.float16)
    for bounds, most, x in ((starts, longest, q), (key_starts, longest_key, k)):
        assert bounds.dtype == torch.int32 and bounds[0] == 0 and bounds[-1] == len(x)
        assert int(bounds.diff().max()) == most and int(bounds.diff().min()) > 0


@functools.cache
def register() -> None:
    """Register both kernels, once in a process."""
    varlen._varlen_attn.register_kernel("cpu", forward)
    varlen._varlen_attn_backward.register_kernel("cpu", backward)
