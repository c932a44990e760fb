"""The same questions with more and more text before them that has nothing to do with the answer.

After Levy et al. 2024 (Same Task, More Tokens, arXiv 2402.14848), who pad with text of other samples
("similar") or of books ("different") and find that accuracy falls far below the context's length. Here the
related text consists of sentences about words of the question itself, since another question's text could
hold an answer; the unrelated one of neutral sentences. No sentence has a choice of the item in it.
"""

import random
import re
from collections.abc import Sequence

from steadyphi.evaluation.long.filler import ABOUT, SENTENCES, without
from steadyphi.evaluation.long.probe import Candidate, Probe
from steadyphi.evaluation.long.writer import Write, Writer
from steadyphi.prompts.item import Item

KINDS = ("related", "unrelated")
_LEAST = 8  # different sentences, so that a text does not say the same thing over and over


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text)


# Of four letters and more, these say nothing of what a question is about.
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
    """Return at most `count` items, drawn by seed, and the lengths at which all of them can be padded.

    An item is passed over when it is too long for every length, or when too few sentences are without its
    choices. Lengths for which most of the drawn items are too long are not returned, and of the items only
    those that go into all the others: accuracy at two lengths is then about the same questions.
    """
    drawn: list[tuple[Item, int]] = []
    for item in random.Random(f"{seed} padding").sample(list(items), len(items)):
        if len(drawn) < count and all(sentences(item, kind) for kind in KINDS):
            need = max(_need(writer, item, kind) for kind in KINDS)
            drawn += [(item, need)] if need <= max(lengths, default=0) else []
    for length in sorted(lengths):
        fitting = [item for item, need in drawn if need <= length]
        if fitting and 2 * len(fitting) >= len(drawn):
            return fitting, [other for other in sorted(lengths) if other >= length]
    return [], []


def sentences(item: Item, kind: str) -> list[str]:
    """Return the sentences of a kind that an item may be padded with; none if there are too few."""
    if kind == "related":
        made = [about.replace("{word}", word) for word in topics(item) for about in ABOUT]
    else:
        made = list(SENTENCES)
    kept = without(made, item.choices)
    return kept if len(kept) >= _LEAST else []


def topics(item: Item) -> list[str]:
    """Return the words that an item is about: of its question, or else of its skill; none from a choice."""
    taken = {word.casefold() for choice in item.choices for word in _words(choice)} | _COMMON
    for text in (item.question, item.skill):
        words = {w.casefold(): w for w in _words(text) if len(w) > 3 and w.casefold() not in taken}
        if words:
            return list(words.values())
    return []


def bare(writer: Writer, items: Sequence[Item]) -> list[Probe]:
    """Return the items without padding, as kind "none" of length 0, to compare with."""
    return [_probe(writer, item, "none", 0, item.question) for item in items]


def probes(writer: Writer, length: int, items: Sequence[Item], seed: int) -> list[Probe]:
    """Return the items padded in both kinds. Raises DoesNotFit for items that `choose` would not return."""
    found = []
    for item in items:
        budget = length - writer.room(_candidates(item), 0)
        for kind in KINDS:
            chosen = writer.fit(_question(item), sentences(item, kind), budget, f"{seed} {item.id}")
            found.append(_probe(writer, item, kind, length, _question(item)(chosen)))
    return found


def _need(writer: Writer, item: Item, kind: str) -> int:
    """Return the least length for an item: its prompt with any one sentence, and its longest choice."""
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
