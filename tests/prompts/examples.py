"""Items of the generated textbook, and the words of a question that every variant must keep."""

import re

from steadyphi.data import textbook
from steadyphi.prompts.item import Item


def items(count: int, seed: int = 0) -> list[Item]:
    """Return questions of all skills, as the stage `prepare` makes them."""
    return [
        Item(f"item-{n}", q.skill, q.text, q.choices, q.choices.index(q.answer))
        for n, q in enumerate(textbook.questions("evaluate", seed, count))
    ]


def carrying(item: Item) -> list[str]:
    """Return the words that determine the answer, in order: numbers, letters, names, words of choices."""
    in_choices = {word for choice in item.choices for word in re.findall(r"\w+", choice.lower())}
    words = re.findall(r"\w+", item.question)
    openers = {re.match(r"\w+", sentence)[0] for sentence in re.split(r"(?<=[.?:]) ", item.question)}  # type: ignore[index]
    return [
        word
        for word in words
        if word.lower() in in_choices
        or len(word) == 1
        or word.isdigit()
        or (word[0].isupper() and word not in openers)
    ]
