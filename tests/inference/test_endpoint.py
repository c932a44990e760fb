"""Evaluation through an endpoint: the scores and texts of our own engine, whatever the server can do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import phi_tiny as textbook
from steadyphi.errors import SteadyPhiError
from steadyphi.inference import http_client
from steadyphi.inference.endpoint import Endpoint, Way
from steadyphi.inference.http_client import Client
from steadyphi.inference.language_model import LanguageModel
from steadyphi.inference.load import load_model
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.inference.scoring import Request
from steadyphi.prompts.formats import FORMATS
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT
from tests.inference.loopback_completions import Completions, Kind, serving

TINY = ROOT / "assets" / "phi-tiny"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "FIRST_WAIT", 0.001)


@pytest.fixture(scope="module")
def ours() -> LanguageModel:
    return LanguageModel(load_model(TINY, None, torch.float32), TextTokenizer(TINY), 4096)


@pytest.fixture
def server(ours: LanguageModel) -> Iterator[Completions]:
    with serving(Completions(ours.model, ours.tokenizer)) as completions:
        yield completions


@pytest.fixture(scope="module")
def questions() -> list[tuple[str, tuple[str, ...]]]:
    items = textbook.material(textbook.settings(items=4)).items
    styles = (FORMATS["phi2"], FORMATS["bare-newline"])
    return [(s.prompt(i.question), tuple(map(s.answer, i.choices))) for i in items for s in styles]


@pytest.fixture(scope="module")
def requests(ours: LanguageModel, questions: list[tuple[str, tuple[str, ...]]]) -> list[Request]:
    encode = ours.tokenizer.encode
    pairs = [(prompt, answer) for prompt, answers in questions for answer in (*answers, f"{answers[0]} and")]
    return [Request(tuple(encode(p)), tuple(encode(a)), f"item {n}") for n, (p, a) in enumerate(pairs)]


def endpoint(server: Completions, cache: ScoreCache | None = None) -> Endpoint:
    client = Client(server.url, "sk-secret")
    return Endpoint(client, TextTokenizer(TINY), 512, "phi-tiny", cache)


def texts(ours: LanguageModel, questions: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    return [each.text for each in ours.generate([prompt for prompt, _ in questions], 6, "texts")]


@pytest.mark.parametrize(("kind", "way"), [("vllm", "echo"), ("llama.cpp", "next")])
def test_scores_are_those_of_our_engine(
    kind: Kind,
    way: str,
    server: Completions,
    ours: LanguageModel,
    requests: list[Request],
    questions: list[tuple[str, tuple[str, ...]]],
) -> None:
    server.kind = kind
    theirs = endpoint(server)
    connection = theirs.connect()
    assert theirs.way == way and connection.startswith(f"{way} -")
    expected = ours.score(requests)
    assert len({len(request.continuation) for request in requests}) > 1
    assert theirs.score([*requests, requests[0]])[:-1] == pytest.approx(expected, abs=1e-4)
    assert theirs.score_in_small_batches(requests[:5], "again") == pytest.approx(expected[:5], abs=1e-4)
    prompts = [prompt for prompt, _ in questions]
    assert [each.text for each in theirs.generate(prompts, 6, "texts")] == texts(ours, questions)
    assert all(body["model"] == "phi-tiny" and body["temperature"] == 0 for body in server.bodies)
    assert server.keys == {"Bearer sk-secret"}
    usage, refused = theirs.client.usage, 1 if kind == "llama.cpp" else 0
    assert usage.requests == len(server.bodies) + refused and usage.repeated == 0
    read = [
        body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]] for body in server.bodies
    ]
    assert usage.prompt_tokens == sum(len(prompt) for prompts in read for prompt in prompts)


def test_a_server_that_only_generates(
    server: Completions,
    ours: LanguageModel,
    requests: list[Request],
    questions: list[tuple[str, tuple[str, ...]]],
) -> None:
    server.kind = "transformers"
    theirs = endpoint(server)
    assert theirs.connect().startswith("none ")
    assert (theirs.way, theirs.ids) == ("none", False)
    with pytest.raises(SteadyPhiError, match="returns no log-probabilities, so it cannot score"):
        theirs.score(requests)
    prompts = [prompt for prompt, _ in questions]
    assert [each.text for each in theirs.generate(prompts, 6, "texts")] == texts(ours, questions)


def test_what_was_answered_is_not_asked_again(
    server: Completions, requests: list[Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadyphi.inference.endpoint.TOGETHER", 8)
    cache = ScoreCache(tmp_path / "kept.sqlite", "one", torch.float32, torch.device("cpu"))
    theirs = endpoint(server, cache)
    theirs.connect()
    server.limit = len(server.bodies) + 2
    with pytest.raises(SteadyPhiError, match=r"status 503: try later \\x1b\[31m$"):
        theirs.score(requests)
    server.limit, asked = None, len(server.bodies)
    scores = theirs.score(requests)
    assert len(server.bodies) - asked == -(-(len(requests) - 16) // 8)
    asked = len(server.bodies)
    assert theirs.score(requests) == scores
    first = theirs.generate(["Q: Who?\nA:"], 5, "texts")
    assert theirs.generate(["Q: Who?\nA:"], 5, "texts") == first
    assert len(server.bodies) - asked == 1
    cache.close()


def test_temporary_failures(server: Completions, requests: list[Request]) -> None:
    theirs = endpoint(server)
    theirs.connect()
    expected, before = theirs.score(requests[:3]), theirs.client.usage.requests
    server.faults += [(503, {}), (429, {"Retry-After": "0"}), (0, {})]
    assert theirs.score(requests[:3]) == expected
    assert theirs.client.usage.requests - before == 4 and theirs.client.usage.repeated == 3
    server.faults += [(500, {})] * 5
    with pytest.raises(SteadyPhiError, match="status 500"):
        theirs.score(requests[:3])
    server.faults += [(401, {})]
    with pytest.raises(SteadyPhiError, match="status 401") as caught:
        theirs.score(requests[:3])
    assert "sk-secret" not in str(caught.value)
    server.faults += [(307, {"Location": "http://127.0.0.1:1/"})]
    with pytest.raises(SteadyPhiError, match="status 307"):
        theirs.score(requests[:3])


def test_several_requests_at_a_time(server: Completions, requests: list[Request]) -> None:
    theirs = endpoint(server)
    theirs.connect()
    server.slow = 0.05
    theirs.client.concurrency = 3
    theirs.score(requests)
    assert server.together == 3


@pytest.mark.parametrize(
    "url", ["http://[::1", "127.0.0.1:8000", "ftp://x/v1", "http://a:b@x/v1", "http://x/v1?key=3"]
)
def test_what_is_no_url_of_an_api(url: str) -> None:
    with pytest.raises(SteadyPhiError, match="--endpoint: should be the URL of an API"):
        Client(url)


def test_no_server_there() -> None:
    with pytest.raises(SteadyPhiError, match=r"no answer \(ConnectionError\); does the server run there\?"):
        Client("http://127.0.0.1:9/v1", tries=2).post("/completions", {})


@pytest.mark.parametrize(
    "logprobs", ["none", [], {"token_logprobs": 3}, {"content": {"a": 1}}, {"content": ["b"]}]
)
@pytest.mark.parametrize("way", ["echo", "next"])
def test_an_answer_of_another_shape_is_one_line(
    way: Way, logprobs: object, server: Completions, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = endpoint(server)
    connected.way = way
    answers = [{"choices": [{"logprobs": logprobs, "index": "first"}]}]
    monkeypatch.setattr(Client, "post_all", lambda *_: answers)
    with pytest.raises(SteadyPhiError, match="returned no log-probabilit"):
        connected.score(requests[:1])


def test_half_of_a_character_in_a_text(server: Completions, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"choices": [{"text": "a\ud83d"}], "usage": [1]}
    monkeypatch.setattr(Client, "post_all", lambda *_: [answer])
    (generated,) = endpoint(server).generate(["Hello"], 4, "texts")
    assert generated.text == "a?"
