"""A variant: one way of putting an item, and the prompt and answers that it makes of one.

Format, options, instruction, noise, examples and an irrelevant sentence are chosen independently of each
other; whatever is chosen, the right answer stays the right answer.
"""

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import distractors, grammar
from steadyphi.prompts.formats import Format
from steadyphi.prompts.grammar import NONE, OptionStyle
from steadyphi.prompts.instructions import Instruction
from steadyphi.prompts.item import Item
from steadyphi.prompts.perturbations import Noise

Family = Literal["format", "grammar", "instruction", "noise", "shots", "options", "distractor"]
Position = Literal["before", "after", "both"]
Side = Literal["before", "after"]


@dataclass(frozen=True)
class Variant:
    """One way of putting an item. What is left at its default is not done.

    options: None shows no choices (cloze); else they are listed, in `option_order`.
    position: of the instruction: before everything, after the question, or both.
    shots: how many examples come first, in `shot_order`.
    distractor: the index of an irrelevant sentence (`distractors.SENTENCES`), which stands on a side
    of the question.
    Orders are numbers: 0 is as handed in, for others see `option_order` and `render`.
    """

    name: str
    family: Family
    format: Format
    options: OptionStyle | None = None
    option_order: int = 0
    instruction: Instruction | None = None
    position: Position = "before"
    noise: Noise | None = None
    shots: int = 0
    shot_order: int = 0
    distractor: int | None = None
    side: Side = "before"

    @property
    def atoms(self) -> dict[str, str]:
        """The level of every factor; all variants have the same factors.

        An instruction's level is its tone and a sentence's its side, for the wordings are a sample of
        many that might have been written.
        """
        return {
            **grammar.field_atoms(self.format),
            **grammar.option_atoms(self.options),
            "option order": str(self.option_order) if self.options else NONE,
            "instruction": self.instruction.tone if self.instruction else NONE,
            "position": self.position if self.instruction else NONE,
            "noise": self.noise.kind if self.noise else NONE,
            "noise level": f"{self.noise.level:g}" if self.noise else "0",
            "shots": str(self.shots),
            "shot order": str(self.shot_order) if self.shots else NONE,
            "distractor": NONE if self.distractor is None else self.side,
        }


class Rendered(NamedTuple):
    """What the model reads, and what it has to write for each of the item's choices, in the item's order."""

    prompt: str
    answers: tuple[str, ...]


def render(variant: Variant, item: Item, shots: Sequence[Item], seed: int) -> Rendered:
    """Return the prompt and the answers of an item; the same for the same seed.

    shots: the first `variant.shots` of them are the examples, whatever their order, which order 0 leaves
    and others draw by the seed. They are put in the same format, options and all, with their right
    answers, but without noise and irrelevant sentence. Examples, and an instruction before them, are
    followed by an empty line.
    Raises SteadyPhiError when there are too few examples, when the item is among them, or when an item has
    more choices than the enumeration has labels.
    """
    parts = [
        variant.format.prompt(_shown(variant, shot, shot.question, seed))
        + _answers(variant, shot, seed)[shot.answer]
        for shot in _examples(variant, item, shots, seed)
    ]
    question = _shown(variant, item, _asked(variant, item, seed), seed)
    if variant.instruction and variant.position != "before":
        question += ("\n" if variant.options else " ") + variant.instruction.text
    if variant.instruction and variant.position != "after":
        parts.insert(0, variant.instruction.text)
    prompt = "\n\n".join([*parts, variant.format.prompt(question)])
    return Rendered(prompt, _answers(variant, item, seed))


def option_order(variant: Variant, item: Item, seed: int) -> tuple[int, ...]:
    """Return which of the item's choices is shown at each place, in the item's order without options.

    The orders 0 to K - 1 turn the item's own order, so that each of its K choices stands at each place
    once (CircularEval of MMBench, Liu et al. 2023, arXiv 2307.06281); the next K turn another, drawn by
    seed and item, and so on.
    """
    places = list(range(len(item.choices)))
    if not variant.options:
        return tuple(places)
    circle, turn = divmod(variant.option_order, len(places))
    if circle:
        random.Random(f"options {seed} {item.id} {circle}").shuffle(places)
    return tuple(places[turn:] + places[:turn])


def _asked(variant: Variant, item: Item, seed: int) -> str:
    """Return the question itself, with noise and an irrelevant sentence."""
    question = variant.noise.apply(item, seed) if variant.noise else item.question
    if variant.distractor is None:
        return question
    sentence = distractors.sentence(variant.distractor, item.choices)
    return f"{sentence} {question}" if variant.side == "before" else f"{question} {sentence}"


def _shown(variant: Variant, item: Item, question: str, seed: int) -> str:
    if not variant.options:
        return question
    return variant.options.listed(question, [item.choices[n] for n in option_order(variant, item, seed)])


def _answers(variant: Variant, item: Item, seed: int) -> tuple[str, ...]:
    texts = list(item.choices)
    if variant.options and variant.options.answers == "label":
        labels = variant.options.labels(len(texts))
        for choice, label in zip(option_order(variant, item, seed), labels, strict=True):
            texts[choice] = label
    return tuple(map(variant.format.answer, texts))


def _examples(variant: Variant, item: Item, shots: Sequence[Item], seed: int) -> list[Item]:
    if variant.shots > len(shots):
        raise SteadyPhiError(
            f"variant {variant.name}: {variant.shots} examples wanted, {len(shots)} there; "
            "prepare more or ask for fewer shots"
        )
    examples = list(shots[: variant.shots])
    if any((shot.question, shot.choices) == (item.question, item.choices) for shot in examples):
        raise SteadyPhiError(
            f"variant {variant.name}: item {item.id} is among its own examples; "
            "take the examples from other rows than the questions"
        )
    return [examples[n] for n in _shuffled(len(examples), variant.shot_order, seed)]


@functools.cache
def _shuffled(count: int, order: int, seed: int) -> tuple[int, ...]:
    """Return the `order`-th of count! distinct orders: 0 is as handed in, the others are drawn."""
    rng = random.Random(f"shots {seed} {count}")
    orders = [tuple(range(count))]
    while len(orders) <= order:
        drawn = tuple(rng.sample(range(count), count))
        if drawn not in orders:
            orders.append(drawn)
    return orders[order]
