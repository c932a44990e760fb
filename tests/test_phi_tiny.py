"""The model that comes with the project: a real Phi, small, trained, and sensitive to its prompt."""

import json
from pathlib import Path

import pytest
import torch

from steadyphi.data import sources
from steadyphi.evaluation import choices
from steadyphi.inference.language_model import LanguageModel
from steadyphi.model import Phi
from steadyphi.prompts import families
from steadyphi.results.cells import cells
from steadyphi.settings.compose import compose
from steadyphi.stats import measures
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT


def test_transformers_loads_it_and_computes_the_same(phi_tiny: Path, lit_tiny: Path) -> None:
    import transformers

    reference = transformers.AutoModelForCausalLM.from_pretrained(phi_tiny, dtype=torch.float32).eval()
    assert type(reference).__name__ == "PhiForCausalLM"
    theirs = transformers.AutoTokenizer.from_pretrained(phi_tiny)
    ours = TextTokenizer(lit_tiny)
    for text in ("Instruct: What is 23 plus 45?\nOutput: 68", "  Größe\t→ 3\n\n"):
        ids = ours.encode(text)
        assert theirs(text)["input_ids"] == ids and ours.decode(ids) == text
    assert theirs.eos_token_id == ours.eos_id
    tokens = torch.tensor(ours.encode("Question: Which word begins with g: garden, table or river?\nAnswer:"))
    with torch.no_grad():
        logits = Phi.load(lit_tiny, torch.float32)(tokens, [len(tokens)])
        torch.testing.assert_close(logits, reference(tokens[None]).logits[0], atol=1e-4, rtol=1e-5)


def test_hub_layout_within_twelve_megabytes(phi_tiny: Path) -> None:
    shards = sorted(phi_tiny.glob("*.safetensors"))
    assert len(shards) == 2 and sum(p.stat().st_size for p in shards) <= 12e6
    index = json.loads((phi_tiny / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {p.name for p in shards}
    assert 1000 <= TextTokenizer(phi_tiny).size <= 2000


@pytest.mark.slow
def test_it_knows_something_and_is_sensitive(lit_tiny: Path) -> None:
    """On held-out questions, drawn with a seed that is used nowhere else."""
    params = {"data": "textbook", "data_file": "steadyphi/data/textbook.py", "seed": 77}
    settings = compose(params | {"prepare": {"items": 400}}, ROOT / "conf")
    items = sources.load(settings.prepare, Path("unused")).items
    model = Phi.load(lit_tiny, torch.float32)
    language_model = LanguageModel(model, TextTokenizer(lit_tiny), settings.evaluate.batch_tokens)
    variants = families.named(settings.evaluate.formats)
    rows = choices.evaluate(language_model, items, [], variants, settings.evaluate)
    correct = cells(rows, settings.evaluate.formats).correct
    assert correct.mean(axis=0).max() >= 0.85
    assert measures.spread(correct) >= 0.25
