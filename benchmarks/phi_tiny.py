"""phi-tiny as our model and as transformers' model with the same weights, and the data for both."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from steadyphi.checkpoint import manifest
from steadyphi.checkpoint.convert import convert
from steadyphi.data import sources
from steadyphi.data.sources import Material
from steadyphi.hub import fetch
from steadyphi.model import Phi
from steadyphi.settings.compose import compose
from steadyphi.settings.schema import Settings
from steadyphi.tokenizer import TextTokenizer

ASSETS = Path("assets/phi-tiny")


def settings(seed: int = 0, **prepare: Any) -> Settings:
    """Return the pipeline's default settings, with this seed."""
    params = {"seed": seed, "data": "textbook", "data_file": "steadyphi/data/textbook.py", "prepare": prepare}
    return compose(params, Path("conf"))


def load() -> tuple[Phi, Any, TextTokenizer]:
    """Return our model, transformers' model, both in float32, and the tokenizer."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        weights, lit = Path(folder, "weights"), Path(folder, "lit")
        weights.mkdir()
        lit.mkdir()
        manifest.write(weights, fetch.fetch(str(ASSETS), None, weights, Path(folder, "cache")))
        convert(weights, lit, "keep")
        ours = Phi.load(lit, torch.float32)
        ours.load_state_dict({k: v.clone() for k, v in ours.state_dict().items()}, assign=True)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(ASSETS, dtype=torch.float32)
    return ours, theirs.eval(), TextTokenizer(ASSETS)


def material(chosen: Settings) -> Material:
    """Return the textbook's training pairs and evaluation items."""
    return sources.load(chosen.prepare, Path(chosen.prepare.data_file))
