"""A language model as evaluation uses it: texts in the order of the prompts, cached, not generated twice."""

from pathlib import Path

import pytest
import torch

from steadyphi.inference import language_model
from steadyphi.inference.generate import Options, generate
from steadyphi.inference.language_model import LanguageModel
from steadyphi.inference.score_cache import ScoreCache
from tests.inference.vocabulary import Letters
from tests.test_model import make_pair

PROMPTS = ["abc", "b", "hello there", "abc", "zz"]


class Tokens(Letters):
    """Letters as tokens, with the batch encoding of the project's tokenizer."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[ord(letter) % 200 + 1 for letter in text] for text in texts]


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of prompts of each call of `generate`."""
    sizes: list[int] = []

    def counted(model: object, vocabulary: object, prompts: list, options: Options) -> list:
        sizes.append(len(prompts))
        return generate(model, vocabulary, prompts, options)  # type: ignore[arg-type]

    monkeypatch.setattr(language_model, "generate", counted)
    return sizes


@pytest.mark.parametrize("together", [1, 2, 64])
def test_each_as_if_it_were_alone(
    together: int, monkeypatch: pytest.MonkeyPatch, generated: list[int]
) -> None:
    monkeypatch.setattr(language_model, "GENERATED_TOGETHER", together)
    model, _ = make_pair("phi-2")
    tokenizer = Tokens()
    texts = LanguageModel(model, tokenizer, 64).generate(PROMPTS, 5, "write")  # type: ignore[arg-type]
    options = Options(max_new_tokens=5)
    alone = [generate(model, tokenizer, tokenizer.encode_batch([p]), options)[0] for p in PROMPTS]
    assert texts == [(result.text, len(result.tokens), result.reason == "eos") for result in alone]
    assert max(generated) <= together and sum(generated) == len(PROMPTS)


def test_what_is_kept_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generated: list[int]
) -> None:
    monkeypatch.setattr(language_model, "GENERATED_TOGETHER", 2)
    model, _ = make_pair("phi-2")
    cache = ScoreCache(tmp_path / "kept.sqlite", "one", torch.float32, torch.device("cpu"))
    kept = LanguageModel(model, Tokens(), 64, cache)  # type: ignore[arg-type]
    first = kept.generate(PROMPTS, 5, "write")
    generated.clear()
    assert kept.generate(PROMPTS, 5, "write") == first
    assert generated == []
    stopped = kept.generate(PROMPTS, 5, "write", [first[0].text[1]])
    assert generated and (stopped[0].text, stopped[0].ended) == (first[0].text[0], True)
    generated.clear()
    longer = kept.generate(PROMPTS, 6, "write")
    assert generated and longer != first  # more tokens are another text


def test_a_text_that_looks_like_a_number_stays_a_text(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "kept.sqlite", "one", torch.float32, torch.device("cpu"))
    cache.put_texts([[1], [2]], 5, [("0042", 2, True), ("1e5", 3, False)])
    assert cache.get_texts([[1], [2]], 5) == [("0042", 2, True), ("1e5", 3, False)]
    assert cache.get_texts([[1], [2]], 5, ["x"]) is None
    assert cache.get_texts([[1], [3]], 5) is None and cache.get_texts([[1]], 5) is None
