"""Filler contains nothing that could be an answer, and as much of it is used as fits."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from steadyphi.evaluation.long import facts
from steadyphi.evaluation.long.filler import ABOUT, SENTENCES, take, without

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "first", "second")


def test_no_sentence_has_a_word_of_a_fact_or_a_number() -> None:
    words = {word for sentence in SENTENCES + ABOUT for word in re.findall(r"\w+", sentence.lower())}
    taken = {*facts.COLOURS, *facts.HOLDERS, *facts.VALUES, "password", "x", "y", *NUMBERS} - {"word"}
    assert not words & taken
    assert not any(character.isdigit() for sentence in SENTENCES + ABOUT for character in sentence)


def test_sentences_are_sentences() -> None:
    assert 40 <= len(SENTENCES) <= 80 and len(set(SENTENCES)) == len(SENTENCES)
    assert all(s[0].isupper() and s.endswith(".") and s.count(".") == 1 for s in SENTENCES + ABOUT)
    assert all(sentence.count("{word}") == 1 for sentence in ABOUT)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(-5, 200), st.integers())
def test_take_leaves_too_little_for_any_other(tokens: list[int], spare: int, seed: int) -> None:
    names = [str(n) for n in range(len(tokens))]
    chosen = take(names, tokens, spare, random.Random(seed))
    used = sum(tokens[int(name)] for name in chosen)
    assert used <= max(spare, 0)
    assert spare - used < min(tokens)


def test_take_uses_all_before_any_again_and_begins_alike() -> None:
    names, tokens = list("abcdef"), [3] * 6
    long = take(names, tokens, 36, random.Random(1))
    assert sorted(long[:6]) == names and sorted(long[6:]) == names
    assert take(names, tokens, 14, random.Random(1)) == long[:4]
    assert take(names, tokens, 36, random.Random(2)) != long


def test_without_removes_whole_words_in_any_case() -> None:
    sentences = [
        "The cat slept.",
        "A category.",
        "CAT!",
        "Mark (A) here.",
        "A hot day came.",
        "So hot, a day.",
    ]
    assert without(sentences, ["cat"]) == [sentences[1], *sentences[3:]]
    assert without(sentences, ["(A)"]) == [*sentences[:3], *sentences[4:]]
    assert without(sentences, ["hot day", "category"]) == [sentences[0], *sentences[2:4], sentences[5]]
