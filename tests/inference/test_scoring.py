"""Scores against a plain computation with transformers, one request at a time."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.errors import SteadyPhiError
from steadyphi.inference import scoring
from steadyphi.inference.scoring import Request, score
from tests.test_model import make_pair


def random_requests(count: int) -> list[Request]:
    """Requests as evaluation makes them: a few prompts, several continuations each, some beginning alike."""
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
    found = score(model, requests, batch_tokens, torch.float32)
    for request, value in zip(requests, found, strict=True):
        tokens = torch.tensor([request.context + request.continuation])
        with torch.no_grad():
            logprobs = reference(tokens).logits[0].log_softmax(-1)
        start = len(request.context) - 1
        expected = sum(logprobs[start + n, t].item() for n, t in enumerate(request.continuation))
        assert value == pytest.approx(expected, abs=1e-4)


def test_shared_sequences_are_computed_once() -> None:
    model, _ = make_pair("phi-1.5")
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0].tolist()))
    requests = [Request((1, 2, 3), (n,), "one token") for n in range(50)]
    requests += [Request((1, 2), (3, 9), "the prompt is a beginning of the others'")]
    score(model, requests, 1000, torch.float32)
    assert seen == [[1, 2, 3]]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), min_size=1, max_size=20))
@settings(deadline=None)
def test_every_request_finds_a_sequence_that_begins_with_its_own(sequences: list[tuple[int, ...]]) -> None:
    wanted = {tokens: [n] for n, tokens in enumerate(dict.fromkeys(sequences))}
    rows = scoring._without_prefixes(wanted)
    owner = {index: tokens for tokens, indices in rows for index in indices}
    for tokens, (index,) in wanted.items():
        assert owner[index][: len(tokens)] == tokens
    kept = [tokens for tokens, _ in rows]
    assert not [a for a in kept for b in kept if a != b and b[: len(a)] == a]


def test_a_score_that_is_no_number_is_an_error() -> None:
    model, _ = make_pair("phi-2")
    torch.nn.init.constant_(model.lm_head.bias, float("nan"))
    with pytest.raises(SteadyPhiError, match="item 3: its score is not a number"):
        score(model, [Request((1,), (2,), "item 3")], 100, torch.float32)


def test_a_request_that_cannot_be_scored_is_named() -> None:
    model, _ = make_pair("phi-2")
    for context, continuation, message in (
        ((1,) * 127, (1, 2, 3), "item 7.*129 tokens do not fit the model's context of 128"),
        ((), (1,), "item 7.*empty"),
        ((1,), (), "item 7.*empty"),
    ):
        with pytest.raises(SteadyPhiError, match=message):
            score(model, [Request(context, continuation, "item 7 in format qa")], 1000, torch.float32)
