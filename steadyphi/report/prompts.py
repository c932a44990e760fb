"""Prompts on the page: their common shape, and visible white space."""

import re
from collections import Counter
from collections.abc import Sequence

from steadyphi.report.markup import Markup, join, tag
from steadyphi.results.result import AnswerTable

SIGNS = {"\n": "⏎", "\t": "⇥", " ": "␣", "\r": "␍", "\u00a0": "⍽"}
Shape = tuple[str, str]


def shape(answers: AnswerTable, number: int, least: float = 0.0) -> Shape | None:
    """Return the text before and after the question in most prompts of a variant.

    number: the variant's index. None if no prompt has a shape, or fewer than the share `least` have this one.
    """
    shapes = (shape_of(item.prompts[number], item.question) for item in answers.items)
    counts = Counter(found for found in shapes if found)
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
