"""Open checkpoint folders as a `LanguageModel` that stores its scores and texts in a file."""

from pathlib import Path

import torch

from steadyphi.inference.language_model import LanguageModel
from steadyphi.inference.load import load_tuned
from steadyphi.inference.packed import pack
from steadyphi.inference.quantized import quantize
from steadyphi.inference.score_cache import ScoreCache, digest_of
from steadyphi.tokenizer import TextTokenizer


def open_model(
    base: Path,
    tuned: Path | None,
    cache: Path,
    dtype: torch.dtype,
    device: torch.device,
    batch_tokens: int,
    bits: int | None = None,
) -> LanguageModel:
    """Return a fine-tuned model, or the base if `tuned` is None, with the base's tokenizer.

    cache: the file of scores and texts, which other models and processes may share.
    batch_tokens: the most tokens that are scored in one forward pass.
    bits: 8 or 4 rounds the weights to so many bits; see `quantized.quantize`.
    """
    model = load_tuned(base, tuned, dtype, device)
    name = digest_of([base, tuned] if tuned else [base])
    if bits:
        model, name = quantize(model, bits), f"{name} in {bits} bits"
    scores = ScoreCache(cache, name, dtype, device)
    return LanguageModel(pack(model, least=0), TextTokenizer(base), batch_tokens, scores)
