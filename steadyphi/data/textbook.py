"""Generate textbook material: lessons and questions for several small skills.

Phi was trained on synthetic textbooks; phi-tiny is trained on this material. Everything is drawn from a seed.
Every question has a key that does not depend on its wording or on the order of its options. The key's hash
decides whether the question belongs to pretraining, fine-tuning or evaluation, so the three sets are disjoint
for any seeds. A lesson is about a question of its own split, but what it teaches (that a carrot is a
vegetable) may help with questions of other splits.
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from steadyphi.data import textbook_words

Split = Literal["pretrain", "finetune", "evaluate"]


@dataclass(frozen=True)
class Question:
    """One question with its correct answer and all choices (including the correct one).

    No choice is a prefix of another, because `7 6` is never more likely than `7`.
    """

    skill: str
    key: str
    text: str
    answer: str
    choices: tuple[str, ...]
    lesson: str  # a sentence that teaches the skill with this question as its example

    @property
    def split(self) -> Split:
        """The set that the question belongs to: pretrain (80%), finetune (10%) or evaluate (10%)."""
        bucket = int.from_bytes(hashlib.sha256(f"{self.skill}|{self.key}".encode()).digest()[:4]) % 10
        return "pretrain" if bucket < 8 else "finetune" if bucket == 8 else "evaluate"


def _key(*parts: object) -> str:
    return "|".join(map(str, parts))


def _sorted_key(kind: str, target: object, options: list[str]) -> str:
    return _key(kind, target, *sorted(options))


def _options(rng: random.Random, answer: str, others: list[str], count: int = 2) -> list[str]:
    options = [answer, *rng.sample(others, count)]
    rng.shuffle(options)
    return options


def _listed(options: list[str], last: str = "or") -> str:
    return f"{', '.join(options[:-1])} {last} {options[-1]}"


def addition(rng: random.Random) -> Question:
    """What is 23 plus 45?"""
    a, b = rng.randint(1, 49), rng.randint(1, 49)
    text = rng.choice((f"What is {a} plus {b}?", f"Add {a} and {b}.", f"How much is {a} plus {b}?"))
    total = a + b
    near = [str(total + d) for d in (-10, -3, -2, -1, 1, 2, 3, 10) if total + d > 0]
    choices = _options(rng, str(total), [n for n in near if len(n) == len(str(total))], 3)
    key = _key(min(a, b), max(a, b))
    return Question("addition", key, text, str(total), tuple(choices), f"{a} plus {b} makes {total}.")


def comparing(rng: random.Random) -> Question:
    """Which number is larger: 34, 87 or 12?"""
    numbers = rng.sample(range(10, 100), 3)
    word, pick = rng.choice((("largest", max), ("smallest", min)))
    options = [str(n) for n in numbers]
    answer = str(pick(numbers))
    text = rng.choice(
        (f"Which number is the {word}: {_listed(options)}?", f"Find the {word} of {_listed(options, 'and')}.")
    )
    lesson = f"Of {_listed(options, 'and')}, the {word} is {answer}."
    return Question("comparing", _sorted_key("n", word, options), text, answer, tuple(options), lesson)


def ordering(rng: random.Random) -> Question:
    """Put 7, 3 and 5 in order, smallest first."""
    numbers = rng.sample(range(1, 40), 3)
    word, reverse = rng.choice((("smallest", False), ("largest", True)))

    def written(values: list[int]) -> str:
        return ", ".join(map(str, values))

    right = sorted(numbers, reverse=reverse)
    a, b, c = right
    wrong = [written(v) for v in ([c, b, a], [b, a, c], [a, c, b], [c, a, b], [b, c, a])]
    shown = _listed([str(n) for n in numbers], "and")
    text = rng.choice((f"Put {shown} in order, {word} first.", f"Sort {shown}, starting with the {word}."))
    choices = _options(rng, written(right), wrong, 3)
    lesson = f"In order, {word} first, {shown} are {written(right)}."
    key = _sorted_key("n", word, [str(n) for n in numbers])
    return Question("ordering", key, text, written(right), tuple(choices), lesson)


def category(rng: random.Random) -> Question:
    """Which of these is an animal: carrot, horse or hammer?"""
    kinds = rng.sample(sorted(textbook_words.CATEGORIES), 3)
    kind = kinds[0]
    answer, *others = (rng.choice(textbook_words.CATEGORIES[k]) for k in kinds)
    options = _options(rng, answer, others)
    named = textbook_words.article(kind)
    text = rng.choice(
        (f"Which of these is {named}: {_listed(options)}?", f"Find {named} among {_listed(options, 'and')}.")
    )
    lesson = f"{textbook_words.article(answer).capitalize()} is {named}."
    return Question("category", _sorted_key("k", kind, options), text, answer, tuple(options), lesson)


def opposite(rng: random.Random) -> Question:
    """Which word is the opposite of hot: cold, wet or slow?"""
    word, answer = rng.choice(textbook_words.OPPOSITES)
    if rng.random() < 0.5:
        word, answer = answer, word
    others = [w for pair in textbook_words.OPPOSITES for w in pair if word not in pair]
    options = _options(rng, answer, others)
    text = rng.choice(
        (
            f"Which word is the opposite of {word}: {_listed(options)}?",
            f"What is the opposite of {word}, {_listed(options)}?",
        )
    )
    lesson = f"The opposite of {word} is {answer}."
    return Question("opposite", _sorted_key("w", word, options), text, answer, tuple(options), lesson)


def letter(rng: random.Random) -> Question:
    """Which word begins with g: garden, table or river?"""
    position, verb, place = rng.choice(((0, "begins", "first"), (-1, "ends", "last")))
    answer = rng.choice(textbook_words.NOUNS)
    mark = answer[position]
    options = _options(rng, answer, [w for w in textbook_words.NOUNS if w[position] != mark])
    text = rng.choice(
        (
            f"Which word {verb} with {mark}: {_listed(options)}?",
            f"Which word has {mark} as its {place} letter: {_listed(options)}?",
        )
    )
    key = _sorted_key(place, mark, options)
    return Question("letter", key, text, answer, tuple(options), f"The {place} letter of {answer} is {mark}.")


def word_place(rng: random.Random) -> Question:
    """What is the last word of this list: red, green, blue?"""
    place, index = rng.choice((("first", 0), ("second", 1), ("last", -1)))
    options = rng.sample(textbook_words.NOUNS, 3)
    shown = ", ".join(options)
    text = rng.choice(
        (f"What is the {place} word of this list: {shown}?", f"Give the {place} word: {shown}.")
    )
    lesson = f"In the list {shown}, the {place} word is {options[index]}."
    return Question("word place", _key(place, *options), text, options[index], tuple(options), lesson)


def lookup(rng: random.Random) -> Question:
    """Tom has a ball. Ann has a kite. Sam has a cup. What does Ann have?"""
    things = rng.sample(textbook_words.THINGS, 3)
    if rng.random() < 0.5:
        names = rng.sample(textbook_words.NAMES, 3)
        facts = [
            f"{name} has {textbook_words.article(thing)}" for name, thing in zip(names, things, strict=True)
        ]
        question, begins = "What does {} have?", [f"{name} has" for name in names]
    else:
        names = things
        facts = [
            f"the {thing} is in the {place}"
            for thing, place in zip(things, rng.sample(textbook_words.PLACES, 3), strict=True)
        ]
        question, begins = "Where is the {}?", [f"the {thing} is" for thing in things]
    index = rng.randrange(3)
    begin = begins[index]
    choices = [begin + fact.removeprefix(prefix) for fact, prefix in zip(facts, begins, strict=True)]
    passage = " ".join(f"{fact[0].upper()}{fact[1:]}." for fact in facts)
    text = f"{passage} {question.format(names[index])}"
    key = _key(names[index], *sorted(facts))
    return Question("lookup", key, text, choices[index], tuple(choices), f"{passage} So {choices[index]}.")


def instruction(rng: random.Random) -> Question:
    """Write the word apple twice."""
    a, b, c = rng.sample(textbook_words.NOUNS, 3)
    text, answer, wrong = rng.choice(
        (
            (f"Write the word {a} twice.", f"{a} {a}", [f"{a} {b}", f"{b} {a}", f"{b} {b}"]),
            (
                f"Write the word {a} three times.",
                f"{a} {a} {a}",
                [f"{a} {b} {a}", f"{a} {a} {b}", f"{b} {b} {b}"],
            ),
            (f"Write {a} and then {b}.", f"{a} {b}", [f"{b} {a}", f"{a} {c}", f"{a} {a}"]),
            (
                f"Write {a}, {b} and {c} backwards.",
                f"{c} {b} {a}",
                [f"{a} {b} {c}", f"{c} {a} {b}", f"{b} {c} {a}"],
            ),
        )
    )
    choices = [answer, *wrong]
    rng.shuffle(choices)
    lesson = f"When you are told: {text.lower()} you write {answer}."
    return Question("instruction", text.lower(), text, answer, tuple(choices), lesson)


Skill = Callable[[random.Random], Question]
SKILLS: tuple[Skill, ...] = (
    addition,
    comparing,
    ordering,
    category,
    opposite,
    letter,
    word_place,
    lookup,
    instruction,
)


def stream(split: Split, seed: int, skills: Sequence[Skill] = SKILLS) -> Iterator[Question]:
    """Yield questions of one split endlessly, cycling through the skills; questions may repeat."""
    rng = random.Random(f"{split} {seed}")
    while True:
        for skill in skills:
            question = skill(rng)
            while question.split != split:
                question = skill(rng)
            yield question


def questions(split: Split, seed: int, count: int, rehearsal: bool = False) -> list[Question]:
    """Return `count` questions of one split, no two with the same key.

    The skills alternate, so their shares are equal, except for a skill that has no new questions left: a
    split of 10% contains only about 120 different additions. With `rehearsal` such a skill goes on with
    questions of the pretraining split, no two with the same text.
    """
    skills = [(stream(split, seed, (skill,)), stream("pretrain", seed, (skill,))) for skill in SKILLS]
    drawn: list[Question] = []
    seen: set[tuple[str, str]] = set()
    while True:
        for unseen, rehearsed in skills:
            question = _new(unseen, seen, lambda q: q.key)
            if question is None and rehearsal:
                question = _new(rehearsed, seen, lambda q: q.text)
            if question:
                drawn.append(question)
            if len(drawn) == count:
                return drawn


def _new(
    drawn: Iterator[Question], seen: set[tuple[str, str]], identity: Callable[[Question], str]
) -> Question | None:
    """Return the next question that is not in `seen`, and add it there; None if 50 in a row are."""
    for question in itertools.islice(drawn, 50):
        if (name := (question.skill, identity(question))) not in seen:
            seen.add(name)
            return question
    return None
