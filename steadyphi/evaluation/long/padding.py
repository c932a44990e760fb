"""The same questions, with more and more irrelevant text before them.

Based on Levy et al. 2024 (Same Task, More Tokens, arXiv 2402.14848), who pad with text of other samples
("similar") or of books ("different"), and find that accuracy drops at lengths far below the context. Here the
related text consists of sentences about words of the question itself, because the text of another question
could contain an answer. The unrelated text consists of neutral sentences. No sentence contains a choice of
the item.
"""

import random
import re
from collections.abc import Sequence

from steadyphi.evaluation.long.filler import ABOUT, SENTENCES, without
from steadyphi.evaluation.long.probe import Candidate, Probe
from steadyphi.evaluation.long.writer import Write, Writer
from steadyphi.prompts.item import Item

KINDS = ("related", "unrelated")
_LEAST = 8  # different sentences, so that the text is not too repetitive


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text)


# Words of four or more letters that say nothing about the topic of a question.
_COMMON = frozenset(
    _words(
        """
        about also been both does each from have here into just many more most much only other over same some
        such than that their them then there these they this those very were what when where which while whom
        whose will with would your
        """
    )
)


def choose(
    writer: Writer, items: Sequence[Item], lengths: Sequence[int], count: int, seed: int
) -> tuple[list[Item], list[int]]:
    """Return at most `count` items, drawn by seed, and the lengths to which all of them can be padded.

    An item is skipped if it is too long for every length, or if too few sentences are free of its choices. A
    length is left out if most of the drawn items are too long for it. An item is left out if it does not fit
    all remaining lengths, so that the accuracies of all lengths are about the same questions.
    """
    drawn: list[tuple[Item, int]] = []
    for item in random.Random(f"{seed} padding").sample(list(items), len(items)):
        if len(drawn) < count and all(sentences(item, kind) for kind in KINDS):
            need = max(_need(writer, item, kind) for kind in KINDS)
            drawn += [(item, need)] if need <= max(lengths, default=0) else []
    for length in sorted(lengths):
        fitting = [item for item, need in drawn if need <= length]
        if fitting and 2 * len(fitting) >= len(drawn):
            return fitting, [longer for longer in sorted(lengths) if longer >= length]
    return [], []


def sentences(item: Item, kind: str) -> list[str]:
    """Return the sentences of a kind that an item may be padded with; none if there are too few."""
    if kind == "related":
        texts = [about.replace("{word}", word) for word in topics(item) for about in ABOUT]
    else:
        texts = list(SENTENCES)
    kept = without(texts, item.choices)
    return kept if len(kept) >= _LEAST else []


def topics(item: Item) -> list[str]:
    """Return the words that an item is about: of its question, or else of its skill; no word of a choice."""
    excluded = {word.casefold() for choice in item.choices for word in _words(choice)} | _COMMON
    for text in (item.question, item.skill):
        words = {w.casefold(): w for w in _words(text) if len(w) > 3 and w.casefold() not in excluded}
        if words:
            return list(words.values())
    return []


def bare(writer: Writer, items: Sequence[Item]) -> list[Probe]:
    """Return the items without padding, as kind "none" and length 0, for comparison."""
    return [_probe(writer, item, "none", 0, item.question) for item in items]


def probes(writer: Writer, length: int, items: Sequence[Item], seed: int) -> list[Probe]:
    """Return the items, padded in both kinds. Raises DoesNotFit for items that `choose` does not return."""
    padded = []
    for item in items:
        budget = length - writer.room(_candidates(item), 0)
        for kind in KINDS:
            chosen = writer.fit(_question(item), sentences(item, kind), budget, f"{seed} {item.id}")
            padded.append(_probe(writer, item, kind, length, _question(item)(chosen)))
    return padded


def _need(writer: Writer, item: Item, kind: str) -> int:
    """Return the smallest length for an item: its prompt with any one sentence, and its longest choice."""
    longest = max(sentences(item, kind), key=len)
    return writer.count(_question(item)([longest])) + writer.room(_candidates(item), 0)


def _question(item: Item) -> Write:
    return lambda chosen: f"{' '.join(chosen)}\n\n{item.question}"


def _probe(writer: Writer, item: Item, kind: str, length: int, question: str) -> Probe:
    return Probe("padding", kind, item.id, length, None, writer.prompt(question), _candidates(item), 0)


def _candidates(item: Item) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(choice, "right" if n == item.answer else "choice") for n, choice in enumerate(item.choices)
    )
