"""Prompts on the page: their common shape, and visible white space."""

import re
from collections import Counter
from collections.abc import Sequence

from steadyphi.prompts.grammar import CASINGS, FIELD_FACTORS, NONE
from steadyphi.report.markup import Markup, join, tag
from steadyphi.results.experiment import AnswerTable
from steadyphi.results.result import VariantRow

SIGNS = {"\n": "⏎", "\t": "⇥", " ": "␣", "\r": "␍", "\u00a0": "⍽"}
Shape = tuple[str, str]
ENDINGS = {"nothing": "", "space": "␣", "newline": "⏎"}
COMPOSED = ("unseen", "grammar")  # families whose formats consist of the grammar's atoms


def shape(answers: AnswerTable, number: int, least: float = 0.0) -> Shape | None:
    """Return the text before and after the question in most prompts of a variant.

    number: the variant's index. None if no prompt has a shape, or if the share of prompts that have the most
    frequent shape is below `least`.
    """
    shapes = (shape_of(item.prompts[number], item.question) for item in answers.items)
    counts = Counter(filter(None, shapes))
    if not counts:
        return None
    usual, times = counts.most_common(1)[0]
    return usual if times >= least * len(answers.items) else None


def shape_of(prompt: str, question: str) -> Shape | None:
    """Return the text before and after the question; None unless the prompt contains it exactly once."""
    start = prompt.find(question)
    if not question or start < 0 or start != prompt.rfind(question):
        return None
    return prompt[:start], prompt[start + len(question) :]


def visible(text: str) -> Markup:
    """Return text with a sign on each white space; the text itself is unchanged, also when copied."""
    parts: Sequence[str] = re.split(f"([{''.join(SIGNS)}])", text)
    return join(
        tag("span", part, class_="ws" if part == "\n" else "ws in", data_sign=SIGNS[part])
        if part in SIGNS
        else part
        for part in parts
        if part
    )


def label(row: VariantRow) -> str:
    """Return what a variant is called on the page: a format of the grammar by its text, others by their name.

    The text has visible white space, and … in place of the question: `Q:␣…⏎A:`.
    """
    if row.family not in COMPOSED or not set(FIELD_FACTORS) <= set(row.atoms):
        return row.name
    ending = ENDINGS[row.atoms["ending"]]
    if row.atoms["descriptor"] == NONE:
        return "…" + ending
    asked, answered = map(CASINGS[row.atoms["casing"]], row.atoms["descriptor"].split("/"))
    separator = row.atoms["separator"]
    mark = separator.rstrip("".join(SIGNS.values()))
    side = separator if row.atoms["ending"] == "space" else mark + ending
    return f"{asked + separator if asked else ''}…{row.atoms['gap']}{answered}{side}"
