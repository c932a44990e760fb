"""Open answers: the same items answered in the model's own words, in every format."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from steadyphi.evaluation.matching import exact_match
from steadyphi.inference.answering import answers
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.model import Phi
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant, render
from steadyphi.tokenizer import TextTokenizer

TEXTS = pa.schema(
    [
        ("item", pa.string()),
        ("variant", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("correct", pa.bool_()),
    ]
)


def answer(
    model: Phi,
    tokenizer: TextTokenizer,
    items: Sequence[Item],
    variants: Sequence[Variant],
    most: int,
    seed: int,
    cache: ScoreCache | None = None,
) -> list[dict[str, Any]]:
    """Return one row per item and variant (`TEXTS`): what was written, and whether it is the right answer.

    most: tokens that are written at most. `steadyphi.evaluation.matching` says what is compared.
    """
    asked = [(item, variant) for variant in variants for item in items]
    prompts = [render(variant, item, [], seed).prompt for item, variant in asked]
    written = answers(model, tokenizer, prompts, most, "write", cache)
    return [
        {
            "item": item.id,
            "variant": variant.name,
            "text": text,
            "tokens": tokens,
            "correct": exact_match(text, item.choices[item.answer]),
        }
        for (item, variant), (text, tokens) in zip(asked, written, strict=True)
    ]
