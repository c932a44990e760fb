"""The items asked in every variant: one row per item and variant."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.evaluation.suite import fitting
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.inference.scoring import Request, score
from steadyphi.model import Phi
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Rendered, Variant, option_order, render
from steadyphi.settings.schema import Evaluate
from steadyphi.stats.scorers import choose, ranking
from steadyphi.tokenizer import TextTokenizer

FREE = "N/A"  # in place of the question: the content-free input of Zhao et al. 2021, arXiv 2102.09690
CALIBRATED = ("format", "grammar", "options")  # the families for which that is asked


@dataclasses.dataclass(frozen=True)
class _Question:
    """An item in a variant, as requests: one a choice, and one a choice without content."""

    item: Item
    variant: Variant
    prompt: str
    places: tuple[int, ...] | None
    asked: list[Request]
    free: list[Request]


def evaluate(
    model: Phi,
    tokenizer: TextTokenizer,
    items: Sequence[Item],
    shots: Sequence[Item],
    variants: Sequence[Variant],
    settings: Evaluate,
    cache: ScoreCache | None = None,
) -> list[dict[str, Any]]:
    """Score every choice of every item in every variant; return a row per item and variant (`cells.SCORES`).

    The formats are asked of all items, the other families of the first `settings.families.items`; of these,
    one that does not fit the context in some variant of the family is left out of that family.
    shots: the examples that a variant may put in front.
    cache: see `steadyphi.inference.scoring.score`.
    """
    questions = []
    for family in dict.fromkeys(v.family for v in variants):
        own = [v for v in variants if v.family == family]
        few = items if family == "format" or not settings.families else items[: settings.families.items]
        few = fitting(tokenizer, own, few, shots, model.config.block_size, settings.seed)
        for variant in own:
            questions += _questions(tokenizer, variant, few, shots, settings.seed)
    requests = list(dict.fromkeys(r for q in questions for r in (*q.asked, *q.free)))
    values = score(model, requests, settings.batch_tokens, "evaluate", cache)
    known = dict(zip(requests, values, strict=True))
    return [_row(question, known, settings) for question in questions]


def correct(
    model: Phi,
    tokenizer: TextTokenizer,
    asked: Sequence[tuple[Variant, Item]],
    settings: Evaluate,
    label: str,
    cache: ScoreCache | None = None,
) -> NDArray[np.bool_]:
    """Return whether each item is answered right in its variant; without examples in front."""
    rendered = [render(variant, item, [], settings.seed) for variant, item in asked]
    names = [f"item {item.id} in variant {variant.name}" for variant, item in asked]
    requests = _requests(tokenizer, rendered, names)
    values = iter(score(model, list(itertools.chain(*requests)), settings.batch_tokens, label, cache))
    chosen = [_chosen([next(values) for _ in own], own, settings) for own in requests]
    return np.array([one == item.answer for one, (_, item) in zip(chosen, asked, strict=True)])


def noise(
    model: Phi,
    tokenizer: TextTokenizer,
    items: Sequence[Item],
    variants: Sequence[Variant],
    settings: Evaluate,
    rows: Sequence[dict[str, Any]],
) -> float:
    """Return the share of answers that change when the same prompts are only batched otherwise.

    That is what rounding does (hardly ever in float32, at times in bfloat16), so a flip rate or a
    difference between formats no larger than this says nothing about prompts. Measured on every
    tenth item in all formats, in batches of an eighth of the size; nothing is taken from the cache.
    """
    smaller = dataclasses.replace(settings, batch_tokens=max(1, settings.batch_tokens // 8))
    formats = [v for v in variants if v.family == "format"]
    again = evaluate(model, tokenizer, items[::10], [], formats, smaller)
    chosen = {(row["item"], row["variant"]): row["chosen"] for row in rows}
    return float(np.mean([chosen[row["item"], row["variant"]] != row["chosen"] for row in again]))


def _questions(
    tokenizer: TextTokenizer, variant: Variant, items: Sequence[Item], shots: Sequence[Item], seed: int
) -> list[_Question]:
    rendered = [render(variant, item, shots, seed) for item in items]
    free = []
    if variant.family in CALIBRATED:
        free = [render(variant, dataclasses.replace(item, question=FREE), shots, seed) for item in items]
    names = [f"item {item.id} in variant {variant.name}" for item in items]
    asked = _requests(tokenizer, rendered, names)
    empty: list[list[Request]] = [[] for _ in items]
    without = _requests(tokenizer, free, ["the prompt without content"] * len(free)) or empty
    return [
        _Question(item, variant, one.prompt, _places(variant, item, seed), own, its_free)
        for item, one, own, its_free in zip(items, rendered, asked, without, strict=True)
    ]


def _requests(
    tokenizer: TextTokenizer, rendered: Sequence[Rendered], names: Sequence[str]
) -> list[list[Request]]:
    """Return for each rendered item a request for each of its choices."""
    prompts = tokenizer.encode_batch([one.prompt for one in rendered])
    answers = iter(tokenizer.encode_batch([answer for one in rendered for answer in one.answers]))
    return [
        [Request(tuple(prompt), tuple(next(answers)), name) for _ in one.answers]
        for one, prompt, name in zip(rendered, prompts, names, strict=True)
    ]


def _places(variant: Variant, item: Item, seed: int) -> tuple[int, ...] | None:
    if not variant.options:
        return None
    shown = option_order(variant, item, seed)
    return tuple(shown.index(choice) for choice in range(len(shown)))


def _row(question: _Question, known: dict[Request, float], settings: Evaluate) -> dict[str, Any]:
    item = question.item
    logprobs = [known[request] for request in question.asked]
    chosen = _chosen(logprobs, question.asked, settings)
    return {
        "item": item.id,
        "skill": item.skill,
        "variant": question.variant.name,
        "prompt": question.prompt,
        "answer": item.answer,
        "chosen": chosen,
        "correct": chosen == item.answer,
        "logprobs": logprobs,
        "tokens": [len(request.continuation) for request in question.asked],
        "free": [known[request] for request in question.free] or None,
        "places": question.places,
    }


def _chosen(logprobs: Sequence[float], requests: Sequence[Request], settings: Evaluate) -> int:
    """Return the choice that ranks first; of equals the first."""
    tokens = np.array([len(request.continuation) for request in requests])
    return int(choose(ranking(np.array(logprobs)[None, None], tokens, settings.scorer))[0, 0])
