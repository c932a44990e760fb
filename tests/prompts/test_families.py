"""Families of variants: their number and names, and that each variant changes one thing about its base."""

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import families
from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.grammar import OptionStyle
from steadyphi.prompts.variants import Variant, render
from tests.prompts.examples import items

BASE = Variant("qa", "format", FORMATS["qa"])


def names(variants: list[Variant]) -> list[str]:
    return [variant.name for variant in variants]


def test_names() -> None:
    assert names(families.named(["phi2", "bare"])) == ["phi2", "bare"]
    assert names(families.instructions(BASE, 2)) == ["instruction-plain-1", "instruction-polite-1"]
    assert names(families.positions(BASE)) == ["position-after", "position-both"]
    assert names(families.noise(BASE, ["typos", "case"], [0.1, 0.25])) == [
        *("noise-typos-0.1", "noise-typos-0.25", "noise-case-0.1", "noise-case-0.25")
    ]
    assert names(families.shots(BASE, [1, 3], 2)) == ["shots-1-order-0", "shots-3-order-0", "shots-3-order-1"]
    assert names(families.option_orders(BASE, [OptionStyle()], 2)) == [
        *("options-A.-newline-text-order-0", "options-A.-newline-text-order-1")
    ]
    assert names(families.distractors(BASE, 2)) == ["distractor-1-before", "distractor-2-after"]
    assert names(families.grammar(3, 0)) == names(families.grammar(3, 0))


@pytest.mark.parametrize(
    ("variants", "family", "changed"),
    [
        (families.instructions(BASE, 5), "instruction", {"instruction", "position"}),
        (families.positions(BASE), "instruction", {"instruction", "position"}),
        (families.noise(BASE, ["filler"], [0.5]), "noise", {"noise", "noise level"}),
        (families.shots(BASE, [2], 2), "shots", {"shots", "shot order"}),
        (
            families.option_orders(BASE, [OptionStyle(answers="label")], 3),
            "options",
            {"wrapper", "enumeration", "option gap", "answers", "option order"},
        ),
        (families.distractors(BASE, 4), "distractor", {"distractor"}),
    ],
)
def test_one_thing_is_changed(variants: list[Variant], family: str, changed: set[str]) -> None:
    for variant in variants:
        assert variant.family == family and variant.format is BASE.format
        assert {factor for factor in BASE.atoms if BASE.atoms[factor] != variant.atoms[factor]} == changed


def test_grammar_with_options() -> None:
    assert all(v.options and v.family == "options" for v in families.grammar(5, 0, with_options=True))
    assert not any(v.options for v in families.grammar(5, 0))


def test_mistakes() -> None:
    with pytest.raises(SteadyPhiError, match=r"format 'phi3' does not exist; choose from phi2, "):
        families.named(["phi3"])
    with pytest.raises(SteadyPhiError, match=r"40 instructions requested, but there are only \d+"):
        families.instructions(BASE, 40)
    with pytest.raises(SteadyPhiError, match=r"11 irrelevant sentences requested, but there are only 10"):
        families.distractors(BASE, 11)
    with pytest.raises(SteadyPhiError, match=r"variant 'qa' occurs more than once"):
        families.suite([BASE], families.named(["phi2", "qa"]))


def test_orders_of_examples_are_all_different() -> None:
    shots = items(6)[:3]
    asked = items(6)[-1]
    variants = families.shots(BASE, [3], 9)
    assert len(variants) == 6  # 3!
    assert len({render(variant, asked, shots, 0).prompt for variant in variants}) == 6
