"""Padded questions keep their choices, and no padding contains a choice."""

import re

from steadyphi.evaluation.long import padding
from steadyphi.evaluation.long.filler import ABOUT, SENTENCES
from steadyphi.evaluation.long.writer import Writer
from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.item import Item
from steadyphi.tokenizer import TextTokenizer


def item(question: str, *choices: str, skill: str = "test") -> Item:
    return Item("1", skill, question, choices, 0)


def test_padding_has_no_choice_and_the_item_is_whole(writer: Writer, items: list[Item]) -> None:
    chosen, lengths = padding.choose(writer, items, [160, 300], 30, seed=0)
    assert len(chosen) == 30 and lengths == [160, 300]
    by_id = {i.id: i for i in chosen}
    probes = [probe for length in lengths for probe in padding.probes(writer, length, chosen, seed=0)]
    assert len(probes) == 2 * 2 * 30
    for probe in probes:
        asked = by_id[probe.item]
        assert tuple(c.text for c in probe.candidates) == asked.choices and probe.answer == asked.answer
        pad, _, rest = probe.prompt.removeprefix("Instruct: ").partition("\n\n")
        assert rest == f"{asked.question}\nOutput:"
        for choice in asked.choices:
            assert not re.search(rf"(?<!\w){re.escape(choice)}(?!\w)", pad, re.IGNORECASE)
        sentences = re.findall(r"[^.]+\.", pad)
        if probe.kind == "unrelated":
            assert {s.strip() for s in sentences} <= set(SENTENCES)
        else:
            about = {word.casefold() for word in re.findall(r'"(\w+)"', pad)}
            assert len(re.findall('"', pad)) == 2 * len(sentences)
            assert about <= set(re.findall(r"\w+", f"{asked.question} {asked.skill}".casefold()))


def test_bare_questions_are_as_they_are(writer: Writer, items: list[Item]) -> None:
    (probe,) = padding.bare(writer, items[:1])
    assert probe.prompt == FORMATS["phi2"].prompt(items[0].question)
    assert (probe.kind, probe.length, probe.item) == ("none", 0, items[0].id)


def test_topics_by_hand() -> None:
    assert padding.topics(item("Which of these is an Animal: carrot, horse?", "horse", "carrot")) == [
        "Animal"
    ]
    assert padding.topics(item("What is 23 plus 45? Plus it.", "68", "58")) == ["Plus"]
    # Only words of a choice and common words: the name of the skill is used, if it is not a choice too.
    assert padding.topics(item("Where is the ball?", "the ball is here", skill="lookup")) == ["lookup"]
    assert padding.topics(item("Where is the ball?", "the ball is here", skill="ball 2")) == []


def test_sentences_by_hand() -> None:
    asked = item("Which animal sings?", "wind", "word")
    assert padding.sentences(asked, "related") == [
        s.replace("{word}", w)
        for w in ("animal", "sings")
        for s in ABOUT
        if "word" not in s.replace("{word}", "")
    ]
    assert padding.sentences(asked, "unrelated") == [
        s for s in SENTENCES if not re.search(r"\b(wind|word)\b", s)
    ]
    # Choices that occur in nearly all sentences leave too few of them.
    assert padding.sentences(item("Which article?", "the", "a", "was", "is", "people"), "unrelated") == []


def test_items_and_lengths_are_chosen_so_that_all_fit(tiny: TextTokenizer, items: list[Item]) -> None:
    writer = Writer(tiny, FORMATS["phi2"])
    long = [Item(f"long{n}", "test", "Is it a mountain? " * 60, ("yes", "no"), 0) for n in range(4)]
    # The long items have 360 tokens or more, the others fewer than 130.
    chosen, lengths = padding.choose(writer, items[:8] + long, [10, 150, 300], 99, seed=0)
    assert {i.id for i in chosen} == {i.id for i in items[:8]} and lengths == [150, 300]
    # They fit one of the lengths, so they are drawn, but only items that fit all lengths are kept.
    chosen, lengths = padding.choose(writer, items[:8] + long, [150, 500, 2000], 99, seed=0)
    assert {i.id for i in chosen} == {i.id for i in items[:8]} and lengths == [150, 500, 2000]
    # Most are long: the short length is left out, not the items.
    chosen, lengths = padding.choose(writer, items[:3] + long, [150, 2000], 99, seed=0)
    assert len(chosen) == 7 and lengths == [2000]
    assert padding.choose(writer, items, [10], 99, seed=0) == ([], [])
    assert padding.choose(writer, [], [300], 99, seed=0) == ([], [])


def test_items_are_drawn_by_seed(tiny: TextTokenizer, items: list[Item]) -> None:
    writer = Writer(tiny, FORMATS["phi2"])
    first, _ = padding.choose(writer, items, [300], 5, seed=0)
    assert first == padding.choose(writer, items, [300], 5, seed=0)[0]
    assert {i.id for i in first} != {i.id for i in padding.choose(writer, items, [300], 5, seed=1)[0]}
