"""Open answers: items answered by generated text, in every format."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from steadyphi.evaluation.matching import exact_match
from steadyphi.inference.language_model import Backend
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant, render

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
    model: Backend, items: Sequence[Item], variants: Sequence[Variant], max_new_tokens: int, seed: int
) -> list[dict[str, Any]]:
    """Return one row per item and variant (`TEXTS`): the generated text, and whether it is the right answer.

    `steadyphi.evaluation.matching` compares the texts.
    """
    pairs = [(item, variant) for variant in variants for item in items]
    prompts = [render(variant, item, [], seed).prompt for item, variant in pairs]
    texts = model.generate(prompts, max_new_tokens, "open answers")
    return [
        {
            "item": item.id,
            "variant": variant.name,
            "text": generated.text,
            "tokens": generated.tokens,
            "correct": exact_match(generated.text, item.choices[item.answer]),
        }
        for (item, variant), generated in zip(pairs, texts, strict=True)
    ]
