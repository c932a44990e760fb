"""Speculative decoding generates the text of the model: exactly if greedy, in distribution if sampled."""

import pytest
import torch

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.generate import Options, generate
from steadyphi.inference.sampling import Sampling
from steadyphi.inference.speculative import accept, speculate
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig
from tests.inference.test_generate import prompts_of
from tests.inference.vocabulary import Letters
from tests.test_model import make_pair

VOCABULARY = Letters()


def draft_of(model: Phi, noise: float) -> Phi:
    """Return a model that guesses well but not always: the same model with noise in its weights."""
    draft = Phi(model.config).eval()
    draft.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in draft.parameters():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
    return draft


@pytest.mark.parametrize("drafted", [1, 4, 7])
@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_greedy_text_is_the_model_s_own(drafted: int, penalty: float) -> None:
    model, _ = make_pair("phi-2")
    draft = draft_of(model, 0.003)
    options = Options(max_new_tokens=25, sampling=Sampling(repetition_penalty=penalty))
    drafts, kept = 0, 0
    for prompt in prompts_of(5):
        result, counts = speculate(model, draft, VOCABULARY, prompt, options, drafted=drafted)
        (expected,) = generate(model, VOCABULARY, [prompt], options)
        assert (result.tokens, result.text, result.reason) == (
            expected.tokens,
            expected.text,
            expected.reason,
        )
        drafts, kept = drafts + counts.drafted, kept + counts.kept
    assert 0.1 * drafts < kept < 0.98 * drafts  # some guesses are kept and some are not


def test_ends_as_generate_does() -> None:
    model, _ = make_pair("phi-1.5")
    draft = draft_of(model, 0.002)
    prompt = prompts_of(1)[0]
    free = generate(model, VOCABULARY, [prompt], Options(max_new_tokens=30))[0]
    vocabulary = Letters(eos_id=free.tokens[11])
    full = (prompt * 128)[:120]
    for words, text, options in (
        (vocabulary, prompt, Options(max_new_tokens=30)),
        (VOCABULARY, prompt, Options(max_new_tokens=30, stop=(free.text[7:9],))),
        (VOCABULARY, prompt, Options(max_new_tokens=1)),
        (VOCABULARY, full, Options(max_new_tokens=30)),
    ):
        expected = generate(model, words, [text], options)[0]
        result = speculate(model, draft, words, text, options)[0]
        assert (result.tokens, result.reason) == (expected.tokens, expected.reason)


def test_an_equal_draft_is_always_right() -> None:
    model, _ = make_pair("phi-1.5")
    options = Options(max_new_tokens=20, sampling=Sampling(temperature=0.8, top_p=0.9))
    result, counts = speculate(model, model, VOCABULARY, prompts_of(1)[0], options)
    assert len(result.tokens) == 20 and counts.kept >= counts.drafted - 1  # except for rounding


def test_accepted_tokens_are_distributed_as_the_model_s() -> None:
    """The acceptance rule alone, on given distributions: the first token of a round has distribution p."""
    stats = pytest.importorskip("scipy.stats")
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    q = torch.tensor([0.6, 0.3, 0.1, 0.0])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(4)
    for guess in torch.multinomial(q, 6000, replacement=True, generator=generator).tolist():
        kept, last = accept(p, [q], [guess], generator)
        counts[guess if kept else last] += 1
    assert stats.chisquare(counts, 6000 * p[0]).pvalue > 0.01
    assert (
        stats.chisquare(counts, 6000 * torch.tensor([0.15, 0.2, 0.27, 0.38])).pvalue < 1e-6
    )  # the test has power


@pytest.mark.slow
def test_drawn_texts_are_distributed_as_the_model_s() -> None:
    """All texts of three tokens over a vocabulary of four, against their probabilities."""
    stats = pytest.importorskip("scipy.stats")
    config = PhiConfig(2, 2, 32, 64, 4, 32, 0.5, 10000.0, 1e-5)
    model, draft = Phi(config).eval(), Phi(config).eval()
    for seed, each in enumerate((model, draft)):
        each.init_weights(torch.Generator().manual_seed(seed), std=0.3)
    prompt, sampling, vocabulary = [1, 2, 3], Sampling(temperature=0.9, top_k=3), Letters(4)
    expected: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(3):
        longer = {}
        for text, share in expected.items():
            with torch.no_grad():
                logits = model(torch.tensor([*prompt, *text]), [len(prompt) + len(text)])[-1:]
            for token, p in enumerate(sampling.probabilities(logits)[0].tolist()):
                longer[(*text, token)] = share * p
        expected = longer
    count, kept = 2500, 0
    times = dict.fromkeys(expected, 0)
    for seed in range(count):
        drawn = Sampling(temperature=0.9, top_k=3, seed=seed)
        result, counts = speculate(
            model, draft, vocabulary, prompt, Options(max_new_tokens=3, sampling=drawn), drafted=2
        )
        times[tuple(result.tokens)] += 1
        kept += counts.kept
    assert 0 < kept < 2 * count
    assert not any(times[text] for text, share in expected.items() if share == 0)
    texts = [text for text, share in expected.items() if share * count > 5]
    rest = count - sum(times[t] for t in texts), count * (1 - sum(expected[t] for t in texts))
    seen = [*(times[t] for t in texts), rest[0]]
    wanted = [*(count * expected[t] for t in texts), rest[1]]
    assert len(texts) > 10
    assert stats.chisquare(seen, wanted).pvalue > 0.01


def test_a_draft_of_a_smaller_context_is_refused() -> None:
    model, _ = make_pair("phi-2")
    small = Phi(PhiConfig(**{**model.config.__dict__, "block_size": 64}))
    with pytest.raises(SteadyPhiError, match="smaller context"):
        speculate(model, small, VOCABULARY, [1], Options())
