"""Each filter against that of transformers, and small cases by hand."""

import pytest
import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.sampling import Sampling, draw, generator_for, uniform

hf = pytest.importorskip("transformers.generation.logits_process")


def random_logits(rows: int = 40, vocab: int = 300) -> Tensor:
    return 3 * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"top_k": 7},
        {"top_k": 1000},
        {"top_p": 0.6},
        {"top_p": 1e-6},
        {"min_p": 0.1},
        {"min_p": 1.0},
        {"top_k": 50, "top_p": 0.8, "min_p": 0.02},
    ],
)
@pytest.mark.parametrize("temperature", [0.4, 1.0, 1.7])
def test_cuts_equal_transformers(values: dict[str, float], temperature: float) -> None:
    logits = random_logits()
    expected = hf.TemperatureLogitsWarper(temperature)(None, logits)
    if "top_k" in values:
        expected = hf.TopKLogitsWarper(int(values["top_k"]))(None, expected)
    if "top_p" in values:
        expected = hf.TopPLogitsWarper(values["top_p"])(None, expected)
    if "min_p" in values:
        expected = hf.MinPLogitsWarper(values["min_p"])(None, expected)
    ours = Sampling(temperature=temperature, **values).filtered(logits)  # type: ignore[arg-type]
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)
    assert ours.isfinite().any(1).all() and ours.isfinite().all() == (values in ({}, {"top_k": 1000}))


def test_repetition_penalty_equals_transformers() -> None:
    logits = random_logits()
    texts = torch.randint(0, 300, (40, 25), generator=torch.Generator().manual_seed(1))
    seen = torch.zeros(40, 300, dtype=torch.bool).scatter_(1, texts, True)
    expected = hf.RepetitionPenaltyLogitsProcessor(1.4)(texts, logits.clone())
    assert torch.equal(Sampling(repetition_penalty=1.4).penalized(logits, seen), expected)
    assert not torch.equal(expected, logits)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"temperature": 1.0}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5}, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        ({"temperature": 1.0, "top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.7}, [0.625, 0.375, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.4}, [1, 0, 0, 0]),
        ({"temperature": 1.0, "min_p": 0.2}, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
    ],
)
def test_by_hand(values: dict[str, float], expected: list[float]) -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    probabilities = Sampling(**values).probabilities(logits)[0]  # type: ignore[arg-type]
    torch.testing.assert_close(probabilities, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    stats = pytest.importorskip("scipy.stats")
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.15, 0.05, 0.0])
    generator = torch.Generator().manual_seed(2)
    numbers = torch.rand(20_000, generator=generator, dtype=torch.float64)
    drawn = draw(probabilities.expand(20_000, -1), numbers).bincount(minlength=7)
    assert drawn[[0, 2, 6]].sum() == 0
    possible = drawn[probabilities > 0]
    assert stats.chisquare(possible, 20_000 * probabilities[probabilities > 0]).pvalue > 0.01


def test_the_ends_of_the_unit_interval() -> None:
    probabilities = torch.tensor([[0.0, 0.25, 0.75, 0.0]] * 2)
    assert draw(probabilities, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).tolist() == [1, 2]


def test_generators_hang_on_seed_prompt_and_occurrence() -> None:
    first = {
        (seed, prompt, nth): uniform(generator_for(seed, prompt, nth))
        for seed in (0, 1)
        for prompt in ((1, 2), (12,))
        for nth in (0, 1)
    }
    assert len(set(first.values())) == 8
    assert uniform(generator_for(0, [1, 2], 0)) == first[0, (1, 2), 0]


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": 2},
        {"repetition_penalty": 0},
    ],
)
def test_values_out_of_range_are_named(values: dict[str, float]) -> None:
    with pytest.raises(SteadyPhiError, match=next(iter(values))):
        Sampling(**values)  # type: ignore[arg-type]
