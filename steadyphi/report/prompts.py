"""Prompts on the page: their common shape, and white space that can be seen."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from steadyphi.report.markup import Markup, join, tag

SIGNS = {"\n": "⏎", "\t": "⇥", " ": "␣", "\r": "␍", "\u00a0": "⍽"}
Shape = tuple[str, str]


def shape(cells: Mapping[str, Any], number: int, least: float = 0.0) -> Shape | None:
    """Return what stands before and after the question in most prompts of a variant.

    None if that holds for no prompt, or for a smaller share of them than `least`.
    """
    found = Counter(shape_of(item["prompts"][number], item["question"]) for item in cells["items"])
    found.pop(None, None)
    if not found:
        return None
    usual, times = found.most_common(1)[0]
    return usual if times >= least * len(cells["items"]) else None


def shape_of(prompt: str, question: str) -> Shape | None:
    """Return what stands before and after the question in a prompt that holds it once, else None."""
    start = prompt.find(question)
    if not question or start < 0 or start != prompt.rfind(question):
        return None
    return prompt[:start], prompt[start + len(question) :]


def visible(text: str) -> Markup:
    """Return text whose white space carries a sign each; the text itself, also when copied, is unchanged."""
    parts: Sequence[str] = re.split(f"([{''.join(SIGNS)}])", text)
    return join(
        tag("span", part, class_="ws" if part == "\n" else "ws in", data_sign=SIGNS[part])
        if part in SIGNS
        else part
        for part in parts
        if part
    )
