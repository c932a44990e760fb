"""Prompts have the requested number of tokens, and facts the requested depths."""

import random
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.evaluation.long import facts
from steadyphi.evaluation.long.filler import SENTENCES
from steadyphi.evaluation.long.probe import Candidate
from steadyphi.evaluation.long.writer import DoesNotFit, Writer
from steadyphi.prompts.formats import FORMATS
from steadyphi.tokenizer import TextTokenizer


def write(sentences: list[str]) -> str:
    return f"{' '.join(sentences)}\n\nWho is it?"


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.integers(110, 2048), st.integers(0, 9))
def test_prompt_has_the_tokens_asked_for(tokenizer: TextTokenizer, name: str, budget: int, seed: int) -> None:
    writer = Writer(tokenizer, FORMATS[name])
    chosen = writer.fit(write, SENTENCES, budget, str(seed))
    used = len(tokenizer.encode(FORMATS[name].prompt(write(chosen))))
    shortest = min(len(tokenizer.encode(f" {sentence}")) for sentence in SENTENCES)
    assert budget - shortest - 2 < used <= budget
    assert chosen == writer.fit(write, SENTENCES, budget, str(seed))


class Apart:
    """A word tokenizer that needs one token more for two sentences in a row than for each alone."""

    def encode(self, text: str) -> list[int]:
        return [0] * (len(text.split()) + text.count(". "))

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]


@pytest.mark.parametrize("budget", range(20, 90, 7))
def test_budget_holds_where_the_whole_has_more_tokens_than_its_parts(budget: int) -> None:
    tokenizer = Apart()
    writer = Writer(cast(TextTokenizer, tokenizer), FORMATS["bare"])
    chosen = writer.fit(write, SENTENCES, budget, "0")
    used = len(tokenizer.encode(write(chosen)))
    # The shortest sentences have three words, and all but the last two need one token more.
    assert budget - 3 - len(chosen) < used <= budget


def test_too_short_says_what_it_takes(writer: Writer) -> None:
    bare = writer.count("\n\nWho is it?")
    with pytest.raises(
        DoesNotFit,
        match=r"the filler takes \d+ of the \d+ tokens for the prompt, and at least 3 filler sentences",
    ):
        writer.fit(write, SENTENCES, bare + 12, "0", least=3)
    with pytest.raises(DoesNotFit):
        writer.fit(write, SENTENCES, bare, "0")


def test_facts_stand_at_their_depth(writer: Writer, tokenizer: TextTokenizer) -> None:
    """The filler before a fact is the requested share of all filler, within half of the longest sentence."""
    sentences = list(SENTENCES[:20])
    sizes = [len(tokenizer.encode(f" {s}")) for s in sentences]
    for depth in (0, 0.1, 0.25, 0.5, 0.77, 1):
        passage = writer.passage(sentences, [(0.3, "Other."), (depth, "Fact."), (0.9, "Third.")])
        before = passage.split("Fact.")[0].replace("Other.", "").replace("Third.", "")
        tokens_before = sum(size for s, size in zip(sentences, sizes, strict=True) if s in before)
        assert abs(tokens_before - depth * sum(sizes)) <= max(sizes) / 2
    assert writer.passage(sentences, [(0.01, "B."), (0, "A."), (1, "Z."), (0.99, "Y.")]).startswith(
        "A. B. It"
    )
    assert writer.passage(["One.", "Two."], [(1, "Z."), (0.98, "Y.")]) == "One. Two. Y. Z."


def test_passage_by_hand(tiny: TextTokenizer) -> None:
    """Three sentences of 2, 2 and 6 tokens end at 0, 2, 4 and 10 of 10."""
    writer = Writer(tiny, FORMATS["bare"])
    writer._sentences = {"a": 2, "b": 2, "c": 6}
    for depth, expected in (
        (0, "F a b c"),
        (0.25, "a F b c"),
        (0.5, "a b F c"),
        (0.69, "a b F c"),
        (0.71, "a b c F"),
    ):
        assert writer.passage(["a", "b", "c"], [(depth, "F")]) == expected


def test_room_is_for_the_longer_of_scoring_and_generating(tiny: TextTokenizer) -> None:
    candidates = [Candidate("river", "right"), Candidate("a river and a bridge", "choice")]
    longest = len(tiny.encode(" a river and a bridge"))
    writer = Writer(tiny, FORMATS["phi2"])
    assert writer.room(candidates, 0) == longest > 1
    assert writer.room(candidates, longest + 3) == longest + 3


@pytest.mark.parametrize("name", ["phi2", "alpaca"])
def test_values_have_equally_many_tokens(tokenizer: TextTokenizer, name: str) -> None:
    """If the space belongs to the prompt, the words have one or two tokens in Phi's vocabulary."""
    tokens = Writer(tokenizer, FORMATS[name]).answer_tokens(facts.VALUES)
    for seed in range(30):
        drawn = facts.draw_values(random.Random(seed), tokens)
        assert len(set(drawn)) == facts.CANDIDATES
        assert len({tokens[value] for value in drawn}) == 1


def test_values_of_nearly_equal_lengths_where_none_are_equal() -> None:
    tokens = {f"v{n}": n for n in range(40, 0, -1)}
    drawn = facts.draw_values(random.Random(0), tokens)
    sizes = [tokens[value] for value in drawn]
    assert len(set(drawn)) == 10 and max(sizes) - min(sizes) == 9 and sizes != sorted(sizes)


def test_no_value_begins_another() -> None:
    assert not [(a, b) for a in facts.VALUES for b in facts.VALUES if a != b and b.startswith(a)]
