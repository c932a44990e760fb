"""Families of variants: what a suite is composed of, each family made from a few numbers.

All but the formats change one thing about a base variant, so that the base is what they are compared with.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import grammar as formats
from steadyphi.prompts.distractors import SENTENCES
from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.grammar import OptionStyle
from steadyphi.prompts.instructions import INSTRUCTIONS
from steadyphi.prompts.perturbations import Kind, Noise
from steadyphi.prompts.variants import Side, Variant


def named(names: Iterable[str]) -> list[Variant]:
    """Return a variant for each of the named formats (`prompts.FORMATS`)."""
    found = []
    for name in names:
        if name not in FORMATS:
            raise SteadyPhiError(f"format {name!r}: there is none; take some of {', '.join(FORMATS)}")
        found.append(Variant(name, "format", FORMATS[name]))
    return found


def grammar(count: int, seed: int, with_options: bool = False) -> list[Variant]:
    """Return `count` formats drawn from the grammar, of family "options" with those; see `grammar.draw`."""
    return [
        Variant(drawn.name, "options" if with_options else "grammar", drawn.format, drawn.options)
        for drawn in formats.draw(count, seed, with_options)
    ]


def instructions(base: Variant, count: int) -> list[Variant]:
    """Return `base` under the first `count` wordings of the instruction, which take turns in tone."""
    return [
        replace(
            base, name=f"instruction-{one.name}", family="instruction", instruction=one, position="before"
        )
        for one in INSTRUCTIONS[: _within(count, len(INSTRUCTIONS), "instructions")]
    ]


def positions(base: Variant) -> list[Variant]:
    """Return `base` with the first instruction after the question and on both sides of it.

    Before it is the first of `instructions`.
    """
    first = replace(base, family="instruction", instruction=INSTRUCTIONS[0])
    return [
        replace(first, name="position-after", position="after"),
        replace(first, name="position-both", position="both"),
    ]


def noise(base: Variant, kinds: Iterable[Kind], levels: Sequence[float]) -> list[Variant]:
    """Return `base` with each kind of noise at each level."""
    return [
        replace(base, name=f"noise-{kind}-{level:g}", family="noise", noise=Noise(kind, level))
        for kind in kinds
        for level in levels
    ]


def shots(base: Variant, ks: Iterable[int], orders: int) -> list[Variant]:
    """Return `base` with k examples in front, each k in so many orders, or all k! where these are fewer."""
    return [
        replace(base, name=f"shots-{k}-order-{order}", family="shots", shots=k, shot_order=order)
        for k in ks
        for order in range(min(orders, math.factorial(k)))
    ]


def option_orders(base: Variant, styles: Iterable[OptionStyle], count: int) -> list[Variant]:
    """Return `base` with options listed in each style, in so many orders, of which 0 is the item's own."""
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
    """Return `base` with each of the first `count` irrelevant sentences, by turns before and after."""
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
    """Return the variants of all families; SteadyPhiError when two have one name."""
    variants = [variant for family in families for variant in family]
    twice = [name for name, count in Counter(v.name for v in variants).items() if count > 1]
    if twice:
        raise SteadyPhiError(
            f"variant {twice[0]!r} is there more than once; name formats and levels once each"
        )
    return variants


def _within(count: int, most: int, what: str) -> int:
    if count > most:
        raise SteadyPhiError(f"{count} {what} wanted, there are {most}; ask for fewer")
    return count
