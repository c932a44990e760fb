"""Irrelevant sentences contain no numbers, no names and no answers."""

import re

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.distractors import SENTENCES, sentence
from tests.prompts.examples import items
from tests.prompts.test_instructions import ANSWERS


def test_irrelevant_to_the_textbook() -> None:
    assert len(set(SENTENCES)) == len(SENTENCES) >= 10
    for text in SENTENCES:
        assert re.fullmatch(r"[A-Z][a-z ]+\.", text)  # no digit, and no capital after the first
        assert not set(re.findall(r"\w+", text.lower())) & ANSWERS
        assert not set(re.findall(r"\w+", text.lower())) & {"first", "second", "last", "one", "two", "three"}
    for item in items(180):
        assert [sentence(n, item.choices) for n in range(len(SENTENCES))] == list(SENTENCES)


def test_the_next_one_where_it_names_a_choice() -> None:
    assert sentence(0, ("Weather", "wind")) == SENTENCES[1]
    assert sentence(0, ("weathe", "we")) == SENTENCES[0]  # a part of a word does not count
    assert sentence(len(SENTENCES) - 1, ("at work", "at home")) == SENTENCES[0]
    with pytest.raises(SteadyPhiError, match=r"choices 'the', .*every irrelevant sentence contains one"):
        sentence(3, ("the", "about", "than", "at"))
