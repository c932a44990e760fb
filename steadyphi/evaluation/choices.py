"""Multiple choice: every choice of every item scored in every variant, one row per item and variant."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.evaluation.suite import fitting
from steadyphi.inference.language_model import Backend
from steadyphi.inference.scoring import Request
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Rendered, Variant, option_order, render
from steadyphi.settings.schema import Evaluate
from steadyphi.stats.measures import changed_share
from steadyphi.stats.scorers import any_beginning, choose, ranking
from steadyphi.tokenizer import TextTokenizer

FREE = "N/A"  # replaces the question: the content-free input of Zhao et al. 2021, arXiv 2102.09690
CALIBRATED = ("format", "unseen", "grammar", "options")  # the families that are also scored with it
BEGINNINGS = ("", " ", "\n")  # the texts before an answer that `stats.scorers.any_beginning` adds up
ANY_BEGINNING = ("format", "unseen")  # the families that are also scored with them
ON_ALL_ITEMS = ("format", "unseen")
Score = Callable[[Sequence[Request], str], list[float]]


@dataclasses.dataclass(frozen=True)
class _Question:
    """An item in a variant, as requests: one per choice, and one per choice after the content-free prompt.

    beginnings: for each way in which an answer may begin, the requests of the choices; may be empty.
    """

    item: Item
    variant: Variant
    prompt: str
    places: tuple[int, ...] | None
    requests: list[Request]
    free: list[Request]
    beginnings: list[list[Request]]


def evaluate(
    model: Backend,
    items: Sequence[Item],
    shots: Sequence[Item],
    variants: Sequence[Variant],
    settings: Evaluate,
) -> list[dict[str, Any]]:
    """Score every choice of every item in every variant; return rows of the table `results.cells.SCORES`.

    The families `ON_ALL_ITEMS` are evaluated on all items, the others on the first `settings.families.items`.
    An item that does not fit the context in some variant of a family is left out of that family.
    shots: the examples for few-shot variants.
    """
    questions = _questions(model, items, shots, variants, settings)
    return _rows(model.score, questions, "evaluate", settings)


def correct(
    model: Backend, questions: Sequence[tuple[Variant, Item]], settings: Evaluate, label: str
) -> NDArray[np.bool_]:
    """Return whether each item is answered correctly in its variant, without few-shot examples."""
    rendered = [render(variant, item, [], settings.seed) for variant, item in questions]
    names = [f"item {item.id} in variant {variant.name}" for variant, item in questions]
    requests = _requests(model.tokenizer, rendered, names)
    scores = iter(model.score(list(itertools.chain(*requests)), label))
    chosen = [_chosen([next(scores) for _ in choices], choices, settings) for choices in requests]
    return np.array([choice == item.answer for choice, (_, item) in zip(chosen, questions, strict=True)])


def noise(
    model: Backend,
    items: Sequence[Item],
    variants: Sequence[Variant],
    settings: Evaluate,
    rows: Sequence[dict[str, Any]],
) -> float:
    """Return the share of answers that change when the same prompts are batched differently.

    This is the effect of rounding (rare in float32, occasional in bfloat16), so a flip rate or a difference
    between formats that is not larger says nothing about prompts. It is measured on every tenth item in all
    formats.
    """
    formats = [v for v in variants if v.family == "format"]
    questions = _questions(model, items[::10], [], formats, settings)
    again = _rows(model.score_in_small_batches, questions, "evaluate again", settings)
    chosen = {(row["item"], row["variant"]): row["chosen"] for row in rows}
    pairs = [(chosen[row["item"], row["variant"]], row["chosen"]) for row in again]
    first, second = np.array(pairs).T
    return changed_share(first, second)


def _questions(
    model: Backend,
    items: Sequence[Item],
    shots: Sequence[Item],
    variants: Sequence[Variant],
    settings: Evaluate,
) -> list[_Question]:
    questions = []
    for family in dict.fromkeys(v.family for v in variants):
        members = [v for v in variants if v.family == family]
        chosen = items
        if settings.families and family not in ON_ALL_ITEMS:
            chosen = items[: settings.families.items]
        chosen = fitting(model.tokenizer, members, chosen, shots, model.context, settings.seed)
        for variant in members:
            questions += _variant_questions(model, variant, chosen, shots, settings.seed)
    return questions


def _variant_questions(
    model: Backend, variant: Variant, items: Sequence[Item], shots: Sequence[Item], seed: int
) -> list[_Question]:
    rendered = [render(variant, item, shots, seed) for item in items]
    names = [f"item {item.id} in variant {variant.name}" for item in items]
    requests = _requests(model.tokenizer, rendered, names)
    free: list[list[Request]] = [[] for _ in items]
    if variant.family in CALIBRATED:
        emptied = [render(variant, dataclasses.replace(item, question=FREE), shots, seed) for item in items]
        free = _requests(model.tokenizer, emptied, ["the content-free prompt"] * len(emptied))
    begun: list[list[list[Request]]] = [[] for _ in items]
    if variant.family in ANY_BEGINNING:
        begun = _beginnings(model, variant, rendered, requests, names)
    return [
        _Question(item, variant, prompt.prompt, _places(variant, item, seed), scored, scored_free, ways)
        for item, prompt, scored, scored_free, ways in zip(
            items, rendered, requests, free, begun, strict=True
        )
    ]


def _beginnings(
    model: Backend,
    variant: Variant,
    rendered: Sequence[Rendered],
    requests: Sequence[list[Request]],
    names: Sequence[str],
) -> list[list[list[Request]]]:
    """Return the requests of each item's choices with the variant's lead, and with each of `BEGINNINGS`.

    A beginning that does not fit the context is left out.
    """
    lead = variant.format.lead
    ways = [requests]
    for text in (text for text in BEGINNINGS if text != lead):
        begun = [Rendered(r.prompt, tuple(text + a[len(lead) :] for a in r.answers)) for r in rendered]
        ways.append(_requests(model.tokenizer, begun, names))
    return [
        [way for way in item if max(len(r.context) + len(r.continuation) for r in way) <= model.context]
        for item in zip(*ways, strict=True)
    ]


def _requests(
    tokenizer: TextTokenizer, rendered: Sequence[Rendered], names: Sequence[str]
) -> list[list[Request]]:
    """Return a request for each choice of each rendered item."""
    prompts = tokenizer.encode_batch([item.prompt for item in rendered])
    answers = iter(tokenizer.encode_batch([answer for item in rendered for answer in item.answers]))
    return [
        [Request(tuple(prompt), tuple(next(answers)), name) for _ in item.answers]
        for item, prompt, name in zip(rendered, prompts, names, strict=True)
    ]


def _places(variant: Variant, item: Item, seed: int) -> tuple[int, ...] | None:
    """Return the position at which each choice is shown, None if choices are not shown."""
    if not variant.options:
        return None
    shown = option_order(variant, item, seed)
    return tuple(shown.index(choice) for choice in range(len(shown)))


def _rows(
    score: Score, questions: Sequence[_Question], label: str, settings: Evaluate
) -> list[dict[str, Any]]:
    requests = list(
        dict.fromkeys(r for q in questions for r in itertools.chain(q.requests, q.free, *q.beginnings))
    )
    scores = dict(zip(requests, score(requests, label), strict=True))
    return [_row(question, scores, settings) for question in questions]


def _row(question: _Question, scores: dict[Request, float], settings: Evaluate) -> dict[str, Any]:
    item = question.item
    logprobs = [scores[request] for request in question.requests]
    chosen = _chosen(logprobs, question.requests, settings)
    return {
        "item": item.id,
        "skill": item.skill,
        "variant": question.variant.name,
        "prompt": question.prompt,
        "answer": item.answer,
        "chosen": chosen,
        "correct": chosen == item.answer,
        "logprobs": logprobs,
        "tokens": [len(request.continuation) for request in question.requests],
        "free": [scores[request] for request in question.free] or None,
        "begun": _begun(question, scores),
        "places": question.places,
    }


def _begun(question: _Question, scores: dict[Request, float]) -> list[float] | None:
    if not question.beginnings:
        return None
    return list(any_beginning(np.array([[scores[r] for r in way] for way in question.beginnings])))


def _chosen(logprobs: Sequence[float], requests: Sequence[Request], settings: Evaluate) -> int:
    """Return the choice that ranks first; of choices with equal scores, the first."""
    tokens = np.array([len(request.continuation) for request in requests])
    return int(choose(ranking(np.array(logprobs)[None, None], tokens, settings.scorer))[0, 0])
