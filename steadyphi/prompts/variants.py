"""Variants of the prompt, and rendering: the prompt and the answers of an item in a variant.

Format, options, instruction, noise, examples and an irrelevant sentence are chosen independently of each
other. No choice changes which answer is right.
"""

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import distractors, grammar
from steadyphi.prompts.dialogue import SEPARATOR
from steadyphi.prompts.formats import Format
from steadyphi.prompts.grammar import NONE, OptionStyle
from steadyphi.prompts.instructions import Instruction
from steadyphi.prompts.item import Item
from steadyphi.prompts.perturbations import Perturbation

Family = Literal["format", "unseen", "grammar", "instruction", "noise", "shots", "options", "distractor"]
Position = Literal["before", "after", "both"]
Side = Literal["before", "after"]


@dataclass(frozen=True)
class Variant:
    """One way of asking an item. The defaults add nothing to the format.

    options: how the choices are listed, in `option_order`; None shows no choices (cloze).
    position: of the instruction: before the whole prompt, after the question, or both.
    noise: the perturbation of the question.
    shots: the number of examples before the question, in `shot_order`.
    distractor: the index of an irrelevant sentence (see `distractors.SENTENCES`), placed on `side` of the
        question.
    Orders are numbers: 0 is the given order; for others see the functions `option_order` and `render`.
    """

    name: str
    family: Family
    format: Format
    options: OptionStyle | None = None
    option_order: int = 0
    instruction: Instruction | None = None
    position: Position = "before"
    noise: Perturbation | None = None
    shots: int = 0
    shot_order: int = 0
    distractor: int | None = None
    side: Side = "before"

    @property
    def atoms(self) -> dict[str, str]:
        """The level of every factor; all variants have the same factors.

        The level of an instruction is its tone and that of an irrelevant sentence its side, because the
        wordings are only a sample of the possible ones.
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
    """The prompt, and the text that the model has to write for each of the item's choices, in their order."""

    prompt: str
    answers: tuple[str, ...]


def render(variant: Variant, item: Item, shots: Sequence[Item], seed: int) -> Rendered:
    """Return the prompt and the answers of an item; the same seed gives the same texts.

    shots: the first `variant.shots` of these items are the examples. Shot order 0 keeps their order; the seed
        draws the others. The examples have the same format and options as the question, and their right
        answers, but no noise, no irrelevant sentence and no system text. An empty line follows each example,
        and the instruction before them. The item's system text comes first.
    Raises SteadyPhiError if there are too few examples, if the item is among them, or if an item has more
    choices than the enumeration has labels.
    """
    parts = [
        variant.format.prompt(_with_options(variant, shot, shot.question, seed))
        + _answers(variant, shot, seed)[shot.answer]
        for shot in _examples(variant, item, shots, seed)
    ]
    question = _with_options(variant, item, _perturbed(variant, item, seed), seed)
    if variant.instruction and variant.position != "before":
        question += ("\n" if variant.options else " ") + variant.instruction.text
    if variant.instruction and variant.position != "after":
        parts.insert(0, variant.instruction.text)
    prompt = SEPARATOR.join([*parts, variant.format.prompt(question)])
    return Rendered(variant.format.opening(item.system) + prompt, _answers(variant, item, seed))


def option_order(variant: Variant, item: Item, seed: int) -> tuple[int, ...]:
    """Return the index of the choice that is shown at each place; the item's own order without options.

    The orders 0 to K - 1 rotate the item's own order, so that each of its K choices is shown at each place
    once (CircularEval of MMBench, Liu et al. 2023, arXiv 2307.06281). The next K orders rotate another order,
    drawn by seed and item, and so on.
    """
    places = list(range(len(item.choices)))
    if not variant.options:
        return tuple(places)
    rotation, turn = divmod(variant.option_order, len(places))
    if rotation:
        random.Random(f"options {seed} {item.id} {rotation}").shuffle(places)
    return tuple(places[turn:] + places[:turn])


def _perturbed(variant: Variant, item: Item, seed: int) -> str:
    """Return the question with its noise and its irrelevant sentence, if the variant has them."""
    question = variant.noise.apply(item, seed) if variant.noise else item.question
    if variant.distractor is None:
        return question
    sentence = distractors.sentence(variant.distractor, item.choices)
    return f"{sentence} {question}" if variant.side == "before" else f"{question} {sentence}"


def _with_options(variant: Variant, item: Item, question: str, seed: int) -> str:
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
            f"variant {variant.name}: needs {variant.shots} examples, but there are {len(shots)}; "
            "prepare more examples or request fewer shots"
        )
    examples = list(shots[: variant.shots])
    if any((shot.question, shot.choices) == (item.question, item.choices) for shot in examples):
        raise SteadyPhiError(
            f"variant {variant.name}: item {item.id} is among its own examples; "
            "take the examples and the questions from different rows"
        )
    return [examples[n] for n in _shuffled(len(examples), variant.shot_order, seed)]


@functools.cache
def _shuffled(count: int, order: int, seed: int) -> tuple[int, ...]:
    """Return the `order`-th of count! distinct orders: 0 is the given order, the others are drawn."""
    rng = random.Random(f"shots {seed} {count}")
    orders = [tuple(range(count))]
    while len(orders) <= order:
        drawn = tuple(rng.sample(range(count), count))
        if drawn not in orders:
            orders.append(drawn)
    return orders[order]
