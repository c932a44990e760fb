"""Log-probabilities of continuations, over exact token ids: nothing stripped, moved or truncated."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.tree import Tree, Walk
from steadyphi.model import Phi
from steadyphi.progress import Progress

HEAD_ROWS = 1024  # positions whose logits are in memory at once: 210 MB in float32 for Phi


@dataclass(frozen=True)
class Request:
    """Score `continuation` after `context`, both token ids, neither empty; `name` is for errors."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    name: str


@dataclass
class _Batch:
    """A walk, and for each token to be predicted: whose it is, where it is predicted from, and its id."""

    walk: Walk = field(default_factory=Walk)
    owners: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)


@torch.inference_mode()
def score(
    model: Phi, requests: Sequence[Request], batch_tokens: int, dtype: torch.dtype, label: str = "score"
) -> list[float]:
    """Return for each request the log-probability (nats) of its whole continuation.

    What several requests begin with is computed once: the requests of a batch form a tree, of at most
    `batch_tokens` tokens where a single request is not longer. The head runs at the needed positions only.
    Raises SteadyPhiError for a request that is empty or longer than the model's context, or whose
    score is NaN.
    """
    device = model.lm_head.weight.device
    batches = list(_batches(requests, model.config.block_size, batch_tokens))
    progress = Progress(label, sum(len(batch.walk.tokens) for batch in batches), "tokens")
    scores = [0.0] * len(requests)
    for batch in batches:
        tree = Tree(model.config, batch.walk, device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            hidden = model.run(torch.tensor(batch.walk.tokens, device=device), itertools.repeat(tree))
            logprobs = _logprobs(model, hidden, batch)
        for owner, value in zip(batch.owners, logprobs, strict=True):
            scores[owner] += value
        progress.add(len(batch.walk.tokens))
    progress.close()
    for request, value in zip(requests, scores, strict=True):
        if math.isnan(value):
            raise SteadyPhiError(f"{request.name}: its score is not a number; the weights are broken")
    return scores


def _batches(requests: Sequence[Request], context: int, batch_tokens: int) -> Iterator[_Batch]:
    """Divide the requests, in lexical order, so that each batch's walk has at most so many tokens."""
    order = sorted((_read(request, context), index) for index, request in enumerate(requests))
    batch = _Batch()
    for tokens, index in order:
        new = batch.walk.new_tokens(tokens)
        if batch.owners and len(batch.walk.tokens) + new > batch_tokens:
            batch.walk.finish()
            yield batch
            batch = _Batch()
        where = batch.walk.add(tokens)
        request = requests[index]
        first = len(request.context) - 1  # this position predicts the continuation's first token
        batch.owners += [index] * len(request.continuation)
        batch.places += where[first : first + len(request.continuation)]
        batch.targets += request.continuation
    if batch.owners:
        batch.walk.finish()
        yield batch


def _logprobs(model: Phi, hidden: Tensor, batch: _Batch) -> list[float]:
    """Return the log-probability of each target at its place; each place's logits are computed once."""
    at, row = torch.unique(torch.tensor(batch.places, device=hidden.device), return_inverse=True)
    targets = torch.tensor(batch.targets, device=hidden.device)
    by_row = row.argsort(stable=True)
    found = torch.empty(len(row), device=hidden.device)
    ends = torch.searchsorted(row[by_row], torch.arange(0, len(at) + HEAD_ROWS, HEAD_ROWS, device=row.device))
    for start, (first, last) in zip(
        range(0, len(at), HEAD_ROWS), itertools.pairwise(ends.tolist()), strict=True
    ):
        logprobs = model.lm_head(hidden[at[start : start + HEAD_ROWS]]).float().log_softmax(-1)
        some = by_row[first:last]
        found[some] = logprobs[row[some] - start, targets[some]]
    values: list[float] = found.tolist()
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
