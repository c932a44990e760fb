"""A checkpoint folder is opened with its tokenizer, and its scores are stored for this model alone."""

from pathlib import Path

import pytest
import torch

from steadyphi.inference import language_model
from steadyphi.inference.load import load_model
from steadyphi.inference.open_model import open_model
from steadyphi.inference.quantized import quantize
from steadyphi.inference.scoring import Request, score

REQUESTS = [Request((1, 2, 3), (4, 5), "one"), Request((1, 2), (6,), "two")]


def scores(folder: Path, cache: Path, bits: int | None = None) -> list[float]:
    model = open_model(folder, None, cache, torch.float32, torch.device("cpu"), 64, bits)
    assert model.tokenizer.decode(model.tokenizer.encode("Who?")) == "Who?"
    return model.score(REQUESTS)


def test_scores_are_those_of_the_checkpoint_and_kept(
    lit_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "scores.sqlite"
    plain = scores(lit_tiny, cache)
    assert plain == pytest.approx(score(load_model(lit_tiny, None, torch.float32), REQUESTS, 64), abs=1e-4)
    rounded = scores(lit_tiny, cache, bits=4)
    model = quantize(load_model(lit_tiny, None, torch.float32), 4)
    assert rounded == pytest.approx(score(model, REQUESTS, 64), abs=1e-4)
    assert rounded != pytest.approx(plain, abs=1e-4)

    def computed(*_: object) -> None:
        raise AssertionError("the scores are in the cache")

    monkeypatch.setattr(language_model.Phi, "forward", computed)
    assert (scores(lit_tiny, cache), scores(lit_tiny, cache, bits=4)) == (plain, rounded)
