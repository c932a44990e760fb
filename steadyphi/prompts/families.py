"""Families of variants, of which a suite is composed.

Each function builds one family. Except for the formats, the variants of a family change one thing about a
base variant and are compared with that base.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import grammar as formats
from steadyphi.prompts import held_out
from steadyphi.prompts.distractors import SENTENCES
from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.grammar import OptionStyle
from steadyphi.prompts.instructions import INSTRUCTIONS
from steadyphi.prompts.perturbations import Kind, Perturbation
from steadyphi.prompts.variants import Side, Variant


def named(names: Iterable[str]) -> list[Variant]:
    """Return a variant for each of the named formats (see `formats.FORMATS`)."""
    variants = []
    for name in names:
        if name not in FORMATS:
            raise SteadyPhiError(f"format {name!r} does not exist; choose from {', '.join(FORMATS)}")
        variants.append(Variant(name, "format", FORMATS[name]))
    return variants


def grammar(count: int, seed: int, with_options: bool = False) -> list[Variant]:
    """Return `count` formats drawn from the grammar; see `grammar.draw`.

    with_options: draw a style of listing the options too; the variants then belong to the family "options".
    """
    return [
        Variant(drawn.name, "options" if with_options else "grammar", drawn.format, drawn.options)
        for drawn in formats.draw(count, seed, with_options)
    ]


def unseen(count: int, seed: int, atoms: held_out.Atoms) -> list[Variant]:
    """Return `count` formats that consist of held-out atoms; see `held_out.unseen`."""
    return [Variant(drawn.name, "unseen", drawn.format) for drawn in held_out.unseen(count, seed, atoms)]


def instructions(base: Variant, count: int) -> list[Variant]:
    """Return `base` with each of the first `count` wordings of the instruction, in front of the question.

    The wordings alternate between the tones.
    """
    return [
        replace(
            base,
            name=f"instruction-{wording.name}",
            family="instruction",
            instruction=wording,
            position="before",
        )
        for wording in INSTRUCTIONS[: _within(count, len(INSTRUCTIONS), "instructions")]
    ]


def positions(base: Variant) -> list[Variant]:
    """Return `base` with the first instruction after the question, and both before and after it.

    The variant with this instruction before the question is the first that `instructions` returns.
    """
    first = replace(base, family="instruction", instruction=INSTRUCTIONS[0])
    return [
        replace(first, name="position-after", position="after"),
        replace(first, name="position-both", position="both"),
    ]


def noise(base: Variant, kinds: Iterable[Kind], levels: Sequence[float]) -> list[Variant]:
    """Return `base` with each kind of noise at each level."""
    return [
        replace(base, name=f"noise-{kind}-{level:g}", family="noise", noise=Perturbation(kind, level))
        for kind in kinds
        for level in levels
    ]


def shots(base: Variant, ks: Iterable[int], orders: int) -> list[Variant]:
    """Return `base` with k examples before the question, for each k of `ks`.

    orders: the number of orders of the examples for each k; at most all k! of them are used.
    """
    return [
        replace(base, name=f"shots-{k}-order-{order}", family="shots", shots=k, shot_order=order)
        for k in ks
        for order in range(min(orders, math.factorial(k)))
    ]


def option_orders(base: Variant, styles: Iterable[OptionStyle], count: int) -> list[Variant]:
    """Return `base` with the options listed in each style, in `count` orders; order 0 is the item's own."""
    return [
        replace(
            base,
            name=f"options-{style.name}-order-{order}",
            family="options",
            options=style,
            option_order=order,
        )
        for style in styles
        for order in range(count)
    ]


def distractors(base: Variant, count: int) -> list[Variant]:
    """Return `base` with each of the first `count` irrelevant sentences.

    The sentences stand before and after the question in turn.
    """
    sides: tuple[Side, Side] = ("before", "after")
    return [
        replace(
            base,
            name=f"distractor-{index + 1}-{sides[index % 2]}",
            family="distractor",
            distractor=index,
            side=sides[index % 2],
        )
        for index in range(_within(count, len(SENTENCES), "irrelevant sentences"))
    ]


def suite(*families: Iterable[Variant]) -> list[Variant]:
    """Return the variants of all families. Raises SteadyPhiError if two variants have the same name."""
    variants = [variant for family in families for variant in family]
    duplicates = [name for name, count in Counter(v.name for v in variants).items() if count > 1]
    if duplicates:
        raise SteadyPhiError(
            f"variant {duplicates[0]!r} occurs more than once; list each format and each level only once"
        )
    return variants


def _within(count: int, most: int, what: str) -> int:
    if count > most:
        raise SteadyPhiError(f"{count} {what} requested, but there are only {most}; request fewer")
    return count
