"""Log-probabilities of continuations over exact token ids: nothing is stripped, moved or truncated."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psutil
import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.inference.tree import Tree, Walk
from steadyphi.model import Phi
from steadyphi.progress import Progress
from steadyphi.runtime import ranks

HEAD_ROWS = 1024  # positions with logits in memory at the same time: 210 MB in float32 for Phi


@dataclass(frozen=True)
class Request:
    """The continuation to score and the context before it, as token ids, neither empty. name: for errors."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    name: str


@dataclass
class _Batch:
    """A walk, and for each token to predict: its request, the position that predicts it, and its id."""

    walk: Walk = field(default_factory=Walk)
    owners: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)


@torch.inference_mode()
def score(
    model: Phi,
    requests: Sequence[Request],
    batch_tokens: int,
    label: str = "score",
    cache: ScoreCache | None = None,
) -> list[float]:
    """Return the log-probability (nats) of each request's whole continuation, in the dtype of the weights.

    A prefix that several requests share is computed once: the requests of a batch form a tree. The output
    head runs only at the positions that predict a continuation. Under torchrun each process computes its
    share of the batches, and all processes return all scores.
    batch_tokens: the most tokens of a batch, fewer if memory is short. A longer request has its own batch.
    label: names the work in the progress line.
    cache: stores scores batch by batch, so the numbers do not depend on its content.
    Raises SteadyPhiError for a request that is empty or longer than the model's context, or whose score is
    NaN.
    """
    available = min(ranks.gather(_tokens_in_memory(model)))  # all processes divide the requests alike
    batches = list(_batches(requests, model.config.block_size, min(batch_tokens, available)))
    mine = batches[ranks.rank() :: ranks.world_size()]
    progress = Progress(label, sum(len(batch.walk.tokens) for batch in mine), "tokens")
    scores: dict[int, float] = {}
    for batch in mine:
        indices = list(dict.fromkeys(batch.owners))
        batch_requests = [requests[index] for index in indices]
        tokens = [(request.context, request.continuation) for request in batch_requests]
        values = cache.get(tokens) if cache else None
        if values is None:
            values = _compute(model, batch)
            _check(batch_requests, values)
            if cache:
                cache.put(tokens, values)
            progress.add(len(batch.walk.tokens))
        else:
            progress.skip(len(batch.walk.tokens))
        scores.update(zip(indices, values, strict=True))
    progress.close()
    for share in ranks.gather(scores):
        scores |= share
    return [scores[index] for index in range(len(requests))]


def _tokens_in_memory(model: Phi) -> int:
    """Return the number of tokens for which half of the free memory is enough.

    Hidden states, queries, keys and values, the copies that attention gathers, and the inner layer of the MLP
    are about 20 * n_embd numbers per token, of at most 4 bytes.
    """
    device = model.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return max(1, int(free / 2 / (80 * model.config.n_embd)))


def _compute(model: Phi, batch: _Batch) -> list[float]:
    """Return the scores of a batch's requests, in the order of the walk."""
    tree = Tree(model.config, batch.walk, model.device, model.dtype)
    hidden = model.run(torch.tensor(batch.walk.tokens, device=model.device), itertools.repeat(tree))
    scores: dict[int, float] = {}
    for owner, value in zip(batch.owners, _logprobs(model, hidden, batch), strict=True):
        scores[owner] = scores.get(owner, 0.0) + value
    return list(scores.values())


def _check(requests: Sequence[Request], values: Sequence[float]) -> None:
    for request, value in zip(requests, values, strict=True):
        if math.isnan(value):
            raise SteadyPhiError(f"{request.name}: the score is NaN; the weights are broken")


def _batches(requests: Sequence[Request], context: int, batch_tokens: int) -> Iterator[_Batch]:
    """Divide the requests, in lexical order, into batches whose walks have at most `batch_tokens` tokens."""
    order = sorted((_read(request, context), index) for index, request in enumerate(requests))
    batch = _Batch()
    for tokens, index in order:
        new = batch.walk.new_tokens(tokens)
        if batch.owners and len(batch.walk.tokens) + new > batch_tokens:
            batch.walk.finish()
            yield batch
            batch = _Batch()
        positions = batch.walk.add(tokens)
        request = requests[index]
        first = len(request.context) - 1  # this position predicts the continuation's first token
        batch.owners += [index] * len(request.continuation)
        batch.positions += positions[first : first + len(request.continuation)]
        batch.targets += request.continuation
    if batch.owners:
        batch.walk.finish()
        yield batch


def _logprobs(model: Phi, hidden: Tensor, batch: _Batch) -> list[float]:
    """Return the log-probability of each target. The logits of each position are computed once."""
    at, row = torch.unique(torch.tensor(batch.positions, device=hidden.device), return_inverse=True)
    targets = torch.tensor(batch.targets, device=hidden.device)
    by_row = row.argsort(stable=True)
    result = torch.empty(len(row), device=hidden.device)
    ends = torch.searchsorted(row[by_row], torch.arange(0, len(at) + HEAD_ROWS, HEAD_ROWS, device=row.device))
    for start, (first, last) in zip(
        range(0, len(at), HEAD_ROWS), itertools.pairwise(ends.tolist()), strict=True
    ):
        logprobs = model.lm_head(hidden[at[start : start + HEAD_ROWS]]).float().log_softmax(-1)
        chunk = by_row[first:last]
        result[chunk] = logprobs[row[chunk] - start, targets[chunk]]
    values: list[float] = result.tolist()
    return values


def _read(request: Request, context: int) -> tuple[int, ...]:
    """Return the tokens that the model must read to predict the request's continuation."""
    if not request.context or not request.continuation:
        raise SteadyPhiError(f"{request.name}: an empty prompt or answer cannot be scored")
    tokens = request.context + request.continuation[:-1]
    if len(tokens) > context:
        raise SteadyPhiError(
            f"{request.name}: {len(tokens)} tokens do not fit the model's context of {context}"
        )
    return tokens
