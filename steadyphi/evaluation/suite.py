"""A suite's variants, from its settings."""

from collections.abc import Sequence
from functools import partial

from steadyphi.prompts import families
from steadyphi.prompts.fitting import fitting as fit
from steadyphi.prompts.grammar import OptionStyle
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant, render
from steadyphi.settings.groups import Families
from steadyphi.settings.schema import Evaluate
from steadyphi.tokenizer import TextTokenizer

# Ways to list the choices, the most common first; a suite uses the first `families.option_styles`.
OPTION_STYLES = (
    OptionStyle("{}.", "A", "newline", "label"),
    OptionStyle("{}.", "A", "newline", "text"),
    OptionStyle("({})", "A", "newline", "label"),
    OptionStyle("{})", "1", "newline", "label"),
    OptionStyle("{})", "a", "semicolon", "text"),
    OptionStyle("[{}]", "I", "newline", "label"),
)


def variants_of(settings: Evaluate) -> list[Variant]:
    """Return all variants of a suite: its formats, the default first, then the other families.

    A drawn format that equals an earlier one is left out, and so is an unseen one that equals a trained one.
    """
    formats = families.named(settings.formats)
    unseen = families.unseen(settings.unseen, settings.seed, settings.held_out.atoms)
    unseen = _without(unseen, [*formats, *families.named(settings.styles)])
    if settings.families is None:
        return families.suite(formats, unseen)
    drawn = _without(families.grammar(settings.families.grammar, settings.seed), [*formats, *unseen])
    listed = families.grammar(settings.families.grammar_options, settings.seed, with_options=True)
    return families.suite(formats, unseen, drawn, *_other_families(formats[0], settings.families), listed)


def _without(variants: Sequence[Variant], others: Sequence[Variant]) -> list[Variant]:
    """Return the variants whose format equals none of the others'."""
    known = {(v.format.template, v.format.lead) for v in others}
    return [v for v in variants if (v.format.template, v.format.lead) not in known]


def _other_families(base: Variant, chosen: Families) -> list[list[Variant]]:
    styles = OPTION_STYLES[: chosen.option_styles]
    return [
        families.instructions(base, chosen.instructions),
        families.positions(base) if chosen.positions else [],
        families.noise(base, chosen.noise, chosen.noise_levels),
        families.shots(base, chosen.shots, chosen.shot_orders),
        families.option_orders(base, styles, chosen.option_orders),
        families.distractors(base, chosen.distractors),
    ]


def fitting(
    tokenizer: TextTokenizer,
    variants: Sequence[Variant],
    items: Sequence[Item],
    shots: Sequence[Item],
    context: int,
    seed: int,
) -> list[Item]:
    """Return the items that fit the context in every variant; see `prompts.fitting`."""
    ways = [partial(render, variant, shots=shots, seed=seed) for variant in variants]
    return fit(tokenizer, items, ways, context)
