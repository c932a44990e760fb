"""Log-probabilities of continuations, over exact token ids: nothing stripped, moved or truncated."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steadyphi.data.packing import pack
from steadyphi.errors import SteadyPhiError
from steadyphi.model import Phi
from steadyphi.progress import Progress


@dataclass(frozen=True)
class Request:
    """Score `continuation` after `context`, both token ids, neither empty; `name` is for errors."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    name: str


@torch.inference_mode()
def score(
    model: Phi, requests: Sequence[Request], batch_tokens: int, dtype: torch.dtype, label: str = "score"
) -> list[float]:
    """Return for each request the log-probability (nats) of its whole continuation.

    A token sequence that several requests need is computed once, and so is one that is the
    beginning of another: choices of one token cost one forward pass together. The head runs at
    the needed positions only. Sequences are packed by length into batches of `batch_tokens`.
    Raises SteadyPhiError for a request that is empty or longer than the model's context, or whose
    score is NaN.
    """
    device = model.lm_head.weight.device
    wanted: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        wanted[_read(request, model.config.block_size)].append(index)
    rows = _without_prefixes(wanted)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    lengths = [len(tokens) for tokens, _ in rows]
    progress = Progress(label, sum(lengths), "tokens")
    scores = [0.0] * len(requests)
    for group in pack(lengths, batch_tokens, order):
        tokens = torch.tensor([t for i in group for t in rows[i][0]], device=device)
        places: list[int] = []
        targets: list[int] = []
        owners: list[int] = []
        start = 0
        for i in group:
            for index in rows[i][1]:
                request = requests[index]
                first = start + len(request.context) - 1  # this position predicts the first token
                places.extend(range(first, first + len(request.continuation)))
                targets.extend(request.continuation)
                owners.extend([index] * len(request.continuation))
            start += lengths[i]
        at, place = torch.unique(torch.tensor(places, device=device), return_inverse=True)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(tokens, [lengths[i] for i in group], at)
        logprobs = logits.float().log_softmax(-1)[place, torch.tensor(targets, device=device)]
        for owner, value in zip(owners, logprobs.tolist(), strict=True):
            scores[owner] += value
        progress.add(len(tokens))
    progress.close()
    for request, value in zip(requests, scores, strict=True):
        if math.isnan(value):
            raise SteadyPhiError(f"{request.name}: its score is not a number; the weights are broken")
    return scores


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


def _without_prefixes(wanted: dict[tuple[int, ...], list[int]]) -> list[tuple[tuple[int, ...], list[int]]]:
    """Hand the requests of a sequence that begins another one to that longer one."""
    rows: list[tuple[tuple[int, ...], list[int]]] = []
    # From the end of the lexical order: right behind a sequence stand those that begin with it.
    for tokens in sorted(wanted, reverse=True):
        if rows and rows[-1][0][: len(tokens)] == tokens:
            rows[-1][1].extend(wanted[tokens])
        else:
            rows.append((tokens, list(wanted[tokens])))
    return rows
