"""Perturbations: by hand for each kind; deterministic, monotone in the level, harmless to the answer."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import perturbations
from steadyphi.prompts.item import Item
from steadyphi.prompts.perturbations import KINDS, Kind, Perturbation
from tests.prompts.examples import carrying, items

ITEMS = items(180)


def item(question: str, *choices: str) -> Item:
    return Item("one", "skill", question, choices or ("yes", "no"), 0)


def places(before: str, after: str) -> set[int]:
    """Return the indices of the words that differ between texts with the same number of words."""
    return {n for n, (a, b) in enumerate(zip(before.split(), after.split(), strict=True)) if a != b}


@pytest.mark.parametrize(
    ("kind", "question", "expected"),
    [
        ("misspellings", "Which people believe it?", "Wich poeple beleive it?"),
        ("case", "Which word has s in it, Anna?", "which WORD HAS s IN IT, Anna?"),
        ("contractions", "What is it that does not melt? Tell me what it is.", "What's it that doesn't melt? "
         "Tell me what it is."),
    ],
)  # fmt: skip
def test_at_full_level_by_hand(kind: Kind, question: str, expected: str) -> None:
    assert Perturbation(kind, 1).apply(item(question), 0) == expected


def test_typos_hit_one_neighbouring_key() -> None:
    question = "Find several different things around there"
    changed = Perturbation("typos", 1).apply(item(question), 0)
    for before, after in zip(question.split()[1:], changed.split()[1:], strict=True):
        assert len(before) == len(after) and before[0] == after[0]
        ((right, wrong),) = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        assert wrong in perturbations.neighbours(right)
    assert changed.split()[0] == "Find"  # shorter than five letters


def test_keys_side_by_side() -> None:
    """On a QWERTY keyboard g is between f and h, below t and y, and above v and b."""
    assert set(perturbations.neighbours("g")) == set("fhtyvb")
    assert set(perturbations.neighbours("q")) == set("wa") and set(perturbations.neighbours("p")) == set("ol")
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert all(
        (a in perturbations.neighbours(b)) == (b in perturbations.neighbours(a))
        for a in letters
        for b in letters
    )


def test_spaces_and_filler_leave_every_word() -> None:
    question = "Which of these is a metal: coat, ship or copper?"
    asked = item(question, "coat", "ship", "copper")
    wide = Perturbation("spaces", 1).apply(asked, 0)
    assert wide.split() == question.split() and re.fullmatch(r"\S+(?:  +\S+)+", wide)
    filled = Perturbation("filler", 1).apply(asked, 0)
    for filler in sorted(perturbations.FILLERS, key=len, reverse=True):
        filled = filled.replace(f" {filler} ", " ")
    assert filled == question


@pytest.mark.parametrize("kind", KINDS)
def test_what_carries_the_answer_is_left_alone(kind: Kind) -> None:
    """Every question of the textbook keeps these words, in the same order, at full level."""
    touched = 0
    for asked in ITEMS:
        perturbed = Perturbation(kind, 1).apply(asked, 3)
        touched += perturbed != asked.question
        kept = carrying(asked)
        words = iter(re.findall(r"\w+", perturbed))
        assert all(word in words for word in kept), (asked, perturbed)
        assert sum(c.isdigit() for c in perturbed) == sum(c.isdigit() for c in asked.question)
    # Contractions have places only in `What is …`, fillers in no question about where things are.
    assert touched > (5 if kind == "contractions" else 100), kind


def test_kept_words_by_hand() -> None:
    asked = item("Did Anna say which 3 words begin with q? Anna did. Which two of them?", "words", "them")
    kept = [asked.question[start:end] for start, end in perturbations.kept_words(asked)]
    assert kept == ["Anna", "3", "words", "q", "Anna", "two", "them"]


def test_names_numbers_and_letters_are_left_alone() -> None:
    asked = item("Where did Rosalind put three letters that begin with q in 1999?", "seventh", "letters")
    for kind in KINDS:
        perturbed = Perturbation(kind, 1).apply(asked, 0)
        for word in ("Rosalind", "three", "letters", "q", "1999"):
            assert re.search(rf"\b{word}\b", perturbed), (kind, perturbed)


@given(
    st.sampled_from(ITEMS),
    st.sampled_from(["typos", "misspellings", "case"]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_a_higher_level_changes_what_a_lower_one_does_and_more(
    asked: Item, kind: Kind, level: float, other: float, seed: int
) -> None:
    low, high = sorted((level, other))
    less, more = Perturbation(kind, low).apply(asked, seed), Perturbation(kind, high).apply(asked, seed)
    assert places(asked.question, less) <= places(asked.question, more)
    for n in places(asked.question, less):
        assert less.split()[n] == more.split()[n]


@given(st.text(), st.sampled_from(KINDS), st.floats(0, 1), st.integers())
@settings(max_examples=100, deadline=None)
def test_any_text(question: str, kind: Kind, level: float, seed: int) -> None:
    asked = item(question)
    assert Perturbation(kind, 0).apply(asked, seed) == question
    state = random.getstate()
    assert Perturbation(kind, level).apply(asked, seed) == Perturbation(kind, level).apply(asked, seed)
    assert random.getstate() == state


def test_the_level_is_the_share_of_places() -> None:
    """Of about 1,500 words in lower case; the standard deviation of the share is about 0.012."""
    least, most = (Perturbation("case", level) for level in (0.3, 1.0))
    changed = sum(len(places(i.question, least.apply(i, 0))) for i in ITEMS)
    possible = sum(len(places(i.question, most.apply(i, 0))) for i in ITEMS)
    assert possible > 700
    assert changed / possible == pytest.approx(0.3, abs=0.06)


def test_another_seed_is_other_noise() -> None:
    texts = {tuple(Perturbation("typos", 0.5).apply(i, seed) for i in ITEMS[:20]) for seed in range(5)}
    assert len(texts) == 5


def test_the_lists() -> None:
    assert len(perturbations.MISSPELLINGS) >= 80
    assert not [
        word
        for word, wrong in perturbations.MISSPELLINGS.items()
        if wrong in perturbations.MISSPELLINGS or wrong == word
    ]
    assert not [t for t in perturbations.CONTRACTIONS.values() if "'" not in t]


def test_unknown_kind_or_level() -> None:
    with pytest.raises(SteadyPhiError, match=r"noise 'typo' at level 0\.1: choose from typos, "):
        Perturbation("typo", 0.1)  # type: ignore[arg-type]
    with pytest.raises(SteadyPhiError, match="level from 0 to 1"):
        Perturbation("typos", 10)
