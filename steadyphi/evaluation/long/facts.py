"""The facts that are hidden in long prompts: a password for each of several things."""

import random
from collections.abc import Mapping

from steadyphi.data import textbook_words

COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "pink", "purple", "grey")
HOLDERS = ("box", "bag", "chest", "drawer", "safe", "trunk", "case", "locker")
VALUES = tuple(textbook_words.NOUNS)  # each is one token of Phi and phi-tiny, after a space
CANDIDATES = 10  # a random answer is right one time in ten


def fact(key: str, value: str) -> str:
    """Return the sentence that states the value of a key."""
    return f"The password of the {key} is {value}."


def question(key: str) -> str:
    """Return the question for the value of a key."""
    return f"What is the password of the {key}?"


def draw_keys(rng: random.Random, count: int) -> list[str]:
    """Return keys that differ only in the colour, so that they are easily confused."""
    holder = rng.choice(HOLDERS)
    return [f"{colour} {holder}" for colour in rng.sample(COLOURS, count)]


def draw_values(rng: random.Random, tokens: Mapping[str, int]) -> list[str]:
    """Return `CANDIDATES` different values, with equal numbers of tokens if the tokenizer allows it.

    tokens: the number of tokens of each value as an answer. A sum of log-probabilities prefers values with
    fewer tokens, so with unequal numbers the ranking would say more about the tokens than about the text.
    """
    groups: dict[int, list[str]] = {}
    for value, count in tokens.items():
        groups.setdefault(count, []).append(value)
    largest = max(groups.values(), key=len)
    if len(largest) >= CANDIDATES:
        return rng.sample(largest, CANDIDATES)
    ordered = sorted(tokens, key=lambda value: tokens[value])
    first = rng.randrange(len(ordered) - CANDIDATES + 1)
    return rng.sample(ordered[first : first + CANDIDATES], CANDIDATES)
