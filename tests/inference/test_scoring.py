"""Scores against a plain computation with transformers, one request at a time."""

import random
from types import SimpleNamespace

import pytest
import torch

from steadyphi.errors import SteadyPhiError
from steadyphi.inference import scoring
from steadyphi.inference.scoring import Request, score
from steadyphi.model import Phi
from tests.test_model import make_pair


def random_requests(count: int) -> list[Request]:
    """Return requests as in evaluation: few prompts, several continuations each, some prefixes in common."""
    rng = random.Random(0)
    prompts = [tuple(rng.randrange(211) for _ in range(rng.randint(1, 20))) for _ in range(count // 4)]
    prompts += [(*p, 5, 6) for p in prompts[:3]]  # one prompt begins another
    requests = []
    for n in range(count):
        continuation = tuple(rng.randrange(211) for _ in range(rng.randint(1, 4)))
        requests.append(Request(rng.choice(prompts), continuation, f"request {n}"))
    return [*requests, requests[0]]


@pytest.mark.parametrize("batch_tokens", [64, 100_000])
def test_scores_equal_transformers(batch_tokens: int) -> None:
    model, reference = make_pair("phi-2")
    requests = random_requests(60)
    scores = score(model, requests, batch_tokens)
    for request, value in zip(requests, scores, strict=True):
        tokens = torch.tensor([request.context + request.continuation])
        with torch.no_grad():
            logprobs = reference(tokens).logits[0].log_softmax(-1)
        start = len(request.context) - 1
        expected = sum(logprobs[start + n, t].item() for n, t in enumerate(request.continuation))
        assert value == pytest.approx(expected, abs=1e-4)


def computed_tokens(model: Phi, requests: list[Request], monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    seen: list[list[int]] = []
    run = Phi.run
    monkeypatch.setattr(
        Phi, "run", lambda self, tokens, c: (seen.append(tokens.tolist()), run(self, tokens, c))[1]
    )
    score(model, requests, 1000)
    return seen


def test_shared_beginnings_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = make_pair("phi-1.5")
    requests = [Request((1, 2, 3), (n,), "one token") for n in range(50)]
    requests += [Request((1, 2), (3, 9), "the prompt is a beginning of the others'")]
    assert computed_tokens(model, requests, monkeypatch) == [[1, 2, 3]]
    requests += [Request((1, 2, 4), (5, n, 7), "two tokens of three are read") for n in (8, 9)]
    assert computed_tokens(model, requests, monkeypatch) == [[1, 2, 3, 4, 5, 8, 9]]


@pytest.mark.parametrize("rows", [1, 3, 1024])
def test_the_head_goes_row_by_row_or_all_at_once(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = make_pair("phi-2")
    requests = random_requests(40)
    expected = score(model, requests, 500)
    monkeypatch.setattr(scoring, "HEAD_ROWS", rows)
    assert score(model, requests, 500) == pytest.approx(expected, abs=1e-5)


def test_a_score_that_is_no_number_is_an_error() -> None:
    model, _ = make_pair("phi-2")
    torch.nn.init.constant_(model.lm_head.bias, float("nan"))
    with pytest.raises(SteadyPhiError, match="item 3: the score is NaN; the weights are broken"):
        score(model, [Request((1,), (2,), "item 3")], 100)


def test_a_request_that_cannot_be_scored_is_named() -> None:
    model, _ = make_pair("phi-2")
    for context, continuation, message in (
        ((1,) * 127, (1, 2, 3), "item 7.*129 tokens do not fit the model's context of 128"),
        ((), (1,), "item 7.*empty"),
        ((1,), (), "item 7.*empty"),
    ):
        with pytest.raises(SteadyPhiError, match=message):
            score(model, [Request(context, continuation, "item 7 in format qa")], 1000)


def test_where_memory_is_short_batches_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = make_pair("phi-2")
    requests = random_requests(40)
    expected = score(model, requests, 10_000)
    memory = SimpleNamespace(available=2 * 80 * model.config.n_embd * 50)
    monkeypatch.setattr(scoring.psutil, "virtual_memory", lambda: memory)
    sizes = [len(batch) for batch in computed_tokens(model, requests, monkeypatch)]
    assert len(sizes) > 3 and max(sizes) <= 50
    assert score(model, requests, 10_000) == pytest.approx(expected, abs=1e-5)
