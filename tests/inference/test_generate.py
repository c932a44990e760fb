"""Batched greedy generation against transformers, and against one prompt at a time; where and why it ends."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from steadyphi.errors import SteadyPhiError
from steadyphi.inference import generate as module
from steadyphi.inference.compiled import FixedStep
from steadyphi.inference.generate import Options, Result, generate
from steadyphi.inference.load import load_model
from steadyphi.inference.sampling import Sampling
from steadyphi.model import Phi
from steadyphi.tokenizer import TextTokenizer
from tests.inference.vocabulary import Letters
from tests.test_model import make_pair

VOCABULARY = Letters()
CONTEXT = 128  # of the models of make_pair


def prompts_of(count: int, longest: int = 60, vocab: int = 211) -> list[list[int]]:
    rng = random.Random(6)
    return [[rng.randrange(vocab) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def theirs(reference: Any, prompt: list[int], new: int, eos: int | None = None) -> list[int]:
    """Return the tokens of transformers' generate, one prompt at a time."""
    reference.generation_config.eos_token_id = eos
    reference.generation_config.pad_token_id = 0
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = reference.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False
        )
    return out[0, len(prompt) :].tolist()


def tokens_of(results: list[Result]) -> list[list[int]]:
    return [result.tokens for result in results]


@pytest.mark.parametrize("shape", ["phi-1.5", "phi-2"])
def test_fifty_prompts_equal_transformers_generate(shape: str) -> None:
    model, reference = make_pair(shape)
    prompts = prompts_of(50)
    ours = tokens_of(generate(model, VOCABULARY, prompts, Options(max_new_tokens=12)))
    assert ours == [theirs(reference, prompt, 12) for prompt in prompts]
    assert len({tuple(t) for t in ours}) > 40  # they are not all the same loop


@pytest.fixture(scope="module")
def tiny(phi_tiny: Path) -> tuple[Phi, TextTokenizer]:
    return load_model(phi_tiny, None, torch.float32), TextTokenizer(phi_tiny)


def test_fifty_prompts_equal_transformers_generate_with_phi_tiny(
    phi_tiny: Path, tiny: tuple[Phi, TextTokenizer]
) -> None:
    """Real text: some answers end with eos, others at the limit, each at a different step."""
    transformers = pytest.importorskip("transformers")
    model, tokenizer = tiny
    reference = transformers.AutoModelForCausalLM.from_pretrained(phi_tiny, dtype=torch.float32).eval()
    page = (phi_tiny / "README.md").read_text().split()
    rng = random.Random(1)
    texts = [" ".join(page[a : a + rng.randint(3, 40)]) for a in rng.sample(range(len(page) - 50), 25)]
    names = ["Ann", "Tom", "the old ship", "a red box", "his sister"]
    texts += [f"Instruct: Who has {n} apples, {m} or nobody?\nOutput:" for n in range(5) for m in names]
    prompts = [tokenizer.encode(text) for text in texts]
    results = generate(model, tokenizer, prompts, Options(max_new_tokens=24))
    for prompt, result in zip(prompts, results, strict=True):
        expected = theirs(reference, prompt, 24, tokenizer.eos_id)
        assert result.tokens == [t for t in expected if t != tokenizer.eos_id]
        assert result.reason == ("eos" if tokenizer.eos_id in expected else "length")
        assert result.text == tokenizer.decode(result.tokens)
    assert {result.reason for result in results} == {"eos", "length"}


def test_each_prompt_of_a_batch_is_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With different numbers of steps, several groups of attention, several batches and prompt passes."""
    model, _ = make_pair("phi-2")
    prompts = prompts_of(24, longest=100)
    options = Options(max_new_tokens=40)
    vocabulary = Letters(eos_id=generate(model, VOCABULARY, prompts[:1], options)[0].tokens[9])
    alone = [generate(model, vocabulary, [prompt], options)[0] for prompt in prompts]
    assert {result.reason for result in alone} == {"eos", "length", "context"}
    assert tokens_of(generate(model, vocabulary, prompts, options)) == tokens_of(alone)
    monkeypatch.setattr(module, "MOST_ROWS", 11)
    monkeypatch.setattr(module, "READ_TOKENS", 150)
    monkeypatch.setattr("steadyphi.inference.contexts.WASTE", 5_000)
    again = generate(model, vocabulary, prompts, options)
    assert tokens_of(again) == tokens_of(alone)
    assert [r.reason for r in again] == [r.reason for r in alone]


def test_compiled_steps_write_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with --compile on a GPU, here traced without a compiler: batches of many shapes, rows that end."""
    model, _ = make_pair("phi-2")
    prompts = prompts_of(14, longest=90)
    expected = tokens_of(generate(model, VOCABULARY, prompts, Options(max_new_tokens=12)))
    monkeypatch.setattr("steadyphi.inference.compiled.GRAPH_DEVICES", {"cpu"})
    monkeypatch.setattr(module, "FixedStep", lambda cache, mode: FixedStep(cache, backend="eager"))
    monkeypatch.setattr(module, "MOST_ROWS", 5)
    options = Options(max_new_tokens=12, compiled=True)
    assert tokens_of(generate(model, VOCABULARY, prompts, options)) == expected


def test_sampled_text_hangs_on_the_seed_and_the_prompt_alone() -> None:
    model, _ = make_pair("phi-1.5")
    prompts = prompts_of(6)
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=3)
    options = Options(max_new_tokens=30, sampling=sampling)
    batch = tokens_of(generate(model, VOCABULARY, [*prompts, prompts[0]], options))
    assert batch[:6] == [generate(model, VOCABULARY, [p], options)[0].tokens for p in prompts]
    assert batch[6] != batch[0]  # the same prompt twice in a batch is drawn twice
    other = Options(max_new_tokens=30, sampling=Sampling(temperature=1.0, top_p=0.9, seed=4))
    assert generate(model, VOCABULARY, prompts[:1], other)[0].tokens != batch[0]


def test_rows_beyond_the_vocabulary_are_never_written() -> None:
    model, _ = make_pair("phi-2")
    with torch.no_grad():
        model.lm_head.bias[150:] += 100
    for temperature in (0.0, 5.0):
        options = Options(max_new_tokens=30, sampling=Sampling(temperature=temperature))
        for tokens in tokens_of(generate(model, Letters(size=150), prompts_of(5, vocab=150), options)):
            assert max(tokens) < 150


def test_the_context_is_filled_and_no_more() -> None:
    model, reference = make_pair("phi-2")
    prompt = prompts_of(1)[0]
    prompt = (prompt * CONTEXT)[: CONTEXT - 5]
    (result,) = generate(model, VOCABULARY, [prompt], Options(max_new_tokens=20))
    assert (result.reason, len(result.tokens)) == ("context", 5)
    assert result.tokens == theirs(reference, prompt, 5)
    (result,) = generate(model, VOCABULARY, [prompt], Options(max_new_tokens=5))
    assert result.reason == "length"
    with pytest.raises(
        SteadyPhiError, match="prompt 2: is 128 tokens long and fills the model's context of 128; shorten it"
    ):
        generate(model, VOCABULARY, [prompt, prompt + [1] * 5])
    with pytest.raises(
        SteadyPhiError, match="the prompt: is empty; the model needs at least one token to continue"
    ):
        generate(model, VOCABULARY, [[]])


def test_stop_strings_end_each_text_of_a_batch() -> None:
    model, _ = make_pair("phi-2")
    prompts = prompts_of(4)
    free = generate(model, VOCABULARY, prompts, Options(max_new_tokens=30))
    stop = free[2].text[10:12]
    cut = free[2].text.index(stop)
    streamed: dict[int, str] = dict.fromkeys(range(4), "")

    def on_text(index: int, text: str) -> None:
        streamed[index] += text

    stopped = generate(model, VOCABULARY, prompts, Options(max_new_tokens=30, stop=(stop,)), on_text)
    assert stopped[2].reason == "stop" and stopped[2].text == free[2].text[:cut]
    assert stopped[2].tokens == free[2].tokens[:cut]
    for whole, result in zip(free, stopped, strict=True):
        assert result.text == whole.text.partition(stop)[0] == streamed[result_index(stopped, result)]


def result_index(results: list[Result], result: Result) -> int:
    return next(i for i, r in enumerate(results) if r is result)


def test_the_repetition_penalty_counts_prompt_and_text() -> None:
    model, reference = make_pair("phi-1.5")
    prompts = prompts_of(6)
    options = Options(max_new_tokens=25, sampling=Sampling(repetition_penalty=1.3))
    for prompt, result in zip(prompts, generate(model, VOCABULARY, prompts, options), strict=True):
        ids = torch.tensor([prompt])
        reference.generation_config.eos_token_id = None
        out = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=25,
            do_sample=False,
            repetition_penalty=1.3,
        )
        assert result.tokens == out[0, len(prompt) :].tolist()


def test_bfloat16_stays_near_float32() -> None:
    """The float32 cache with bfloat16 weights: the same computation, apart from rounding."""
    model, _ = make_pair("phi-2")
    prompts = prompts_of(8)
    exact = generate(model, VOCABULARY, prompts, Options(max_new_tokens=1))
    rounded = generate(model.bfloat16(), VOCABULARY, prompts, Options(max_new_tokens=1))
    assert sum(a.tokens == b.tokens for a, b in zip(exact, rounded, strict=True)) >= 6


def test_broken_weights_are_said() -> None:
    model, _ = make_pair("phi-2")
    torch.nn.init.constant_(model.lm_head.bias, float("nan"))
    with pytest.raises(SteadyPhiError, match="the logits are NaN; the model's weights are broken"):
        generate(model, VOCABULARY, [[1, 2]])


def test_max_new_tokens_is_checked() -> None:
    with pytest.raises(SteadyPhiError, match="max_new_tokens: should be 1 or more, not 0"):
        Options(max_new_tokens=0)
