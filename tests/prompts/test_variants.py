"""Rendering: each part by hand; every family keeps the answers of the textbook's questions."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import families, grammar
from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.grammar import OptionStyle
from steadyphi.prompts.instructions import INSTRUCTIONS
from steadyphi.prompts.item import Item
from steadyphi.prompts.perturbations import KINDS, Perturbation
from steadyphi.prompts.variants import Variant, option_order, render
from tests.prompts.examples import carrying, items

PHI2 = Variant("phi2", "format", FORMATS["phi2"])
ITEM = Item("one", "colours", "Which colour has the sky?", ("red", "blue", "green"), 1)
SHOTS = [
    Item("s1", "colours", "Which colour has grass?", ("green", "pink"), 0),
    Item("s2", "colours", "Which colour has snow?", ("black", "white"), 1),
    Item("s3", "colours", "Which colour has coal?", ("black", "white"), 0),
]
LETTERS, LABELS = OptionStyle(), OptionStyle(answers="label")
ASKED, EXAMPLES = items(90, seed=1), items(200, seed=1)[-8:]

SUITE = families.suite(
    families.named(FORMATS),
    families.grammar(20, 0),
    families.grammar(20, 0, with_options=True),
    families.instructions(PHI2, len(INSTRUCTIONS)),
    families.positions(PHI2),
    families.noise(PHI2, KINDS, (0.1, 1)),
    families.shots(PHI2, (1, 4), 3),
    families.option_orders(PHI2, (LETTERS, LABELS, OptionStyle("({})", "i", "comma", "label")), 4),
    families.distractors(PHI2, 10),
)


def whole(variant: Variant, item: Item = ITEM) -> str:
    rendered = render(variant, item, SHOTS, 0)
    return rendered.prompt + rendered.answers[item.answer]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Instruct: Which colour has the sky?\nOutput: blue"),
        (
            {"options": LETTERS},
            "Instruct: Which colour has the sky?\nA. red\nB. blue\nC. green\nOutput: blue",
        ),
        ({"options": LABELS}, "Instruct: Which colour has the sky?\nA. red\nB. blue\nC. green\nOutput: B."),
        (
            {"options": LABELS, "option_order": 1},
            "Instruct: Which colour has the sky?\nA. blue\nB. green\nC. red\nOutput: A.",
        ),
        (
            {"instruction": INSTRUCTIONS[0]},
            "Answer the question correctly.\n\nInstruct: Which colour has the sky?\nOutput: blue",
        ),
        (
            {"instruction": INSTRUCTIONS[0], "position": "after"},
            "Instruct: Which colour has the sky? Answer the question correctly.\nOutput: blue",
        ),
        (
            {"instruction": INSTRUCTIONS[3], "position": "both", "options": LETTERS},
            "This is very important: answer the question correctly!\n\nInstruct: Which colour has the sky?\n"
            "A. red\nB. blue\nC. green\nThis is very important: answer the question correctly!\nOutput: blue",
        ),
        ({"noise": Perturbation("case", 1)}, "Instruct: which COLOUR HAS THE SKY?\nOutput: blue"),
        (
            {"distractor": 1},
            "Instruct: People like to talk about music after dinner. Which colour has the sky?\nOutput: blue",
        ),
        (
            {"distractor": 2, "side": "after"},
            "Instruct: Which colour has the sky? The meeting was moved to another room.\nOutput: blue",
        ),
        (
            {"shots": 2},
            "Instruct: Which colour has grass?\nOutput: green\n\n"
            "Instruct: Which colour has snow?\nOutput: white\n\n"
            "Instruct: Which colour has the sky?\nOutput: blue",
        ),
        (
            {"shots": 1, "options": LABELS, "instruction": INSTRUCTIONS[4], "noise": Perturbation("case", 1)},
            "Correct answer only.\n\nInstruct: Which colour has grass?\nA. green\nB. pink\nOutput: A.\n\n"
            "Instruct: which COLOUR HAS THE SKY?\nA. red\nB. blue\nC. green\nOutput: B.",
        ),
    ],
)
def test_by_hand(changes: dict[str, object], text: str) -> None:
    assert whole(replace(PHI2, **changes)) == text  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", SUITE, ids=lambda v: v.name)
def test_the_answer_is_kept(variant: Variant) -> None:
    """The prompt has the words that determine the answer, and the answers are the item's choices."""
    for item in ASKED:
        rendered = render(variant, item, EXAMPLES, 5)
        assert len(set(rendered.answers)) == len(rendered.answers) == len(item.choices)
        texts = [answer.removeprefix(variant.format.lead) for answer in rendered.answers]
        # Search only the question, not the examples before it, which end with an empty line.
        question = rendered.prompt[rendered.prompt.rindex("\n\n") :] if variant.shots else rendered.prompt
        if variant.options:
            read = dict.fromkeys(item.choices, "")
            for label, shown in zip(
                variant.options.labels(len(item.choices)), option_order(variant, item, 5), strict=True
            ):
                assert f"{label} {item.choices[shown]}" in question
                read[item.choices[shown]] = label
            if variant.options.answers == "label":
                assert texts == [read[choice] for choice in item.choices]
        if not variant.options or variant.options.answers == "text":
            assert texts == list(item.choices)
        if not variant.noise:
            assert item.question in question
        words = iter(re.findall(r"\w+", question))
        assert all(word in words for word in carrying(item))


def test_every_variant_has_the_same_factors_and_a_text_of_its_own() -> None:
    assert len({tuple(v.atoms) for v in SUITE}) == 1
    assert all(isinstance(level, str) and level for v in SUITE for level in v.atoms.values())
    # Not every item has a place for every kind of noise, so compare the texts of all items together.
    texts: dict[object, str] = {}
    for variant in SUITE:
        text = tuple(render(variant, item, EXAMPLES, 5) for item in ASKED[:45])
        assert texts.setdefault(text, variant.name) == variant.name


def test_atoms_by_hand() -> None:
    variant = replace(
        PHI2,
        options=OptionStyle("({})", "i", "space", "label"),
        option_order=2,
        instruction=INSTRUCTIONS[1],
        noise=Perturbation("typos", 0.1),
        shots=3,
        distractor=4,
        side="after",
    )
    assert variant.atoms == {
        **grammar.field_atoms(FORMATS["phi2"]),
        **{"wrapper": "(x)", "enumeration": "i", "option gap": "␣", "answers": "label", "option order": "2"},
        **{"instruction": "polite", "position": "before", "noise": "typos", "noise level": "0.1"},
        **{"shots": "3", "shot order": "0", "distractor": "after"},
    }
    assert {v for k, v in PHI2.atoms.items() if k not in grammar.FIELD_FACTORS} == {"none", "0", "text"}


def test_each_choice_stands_at_each_place_once_in_a_circle() -> None:
    for circle in range(3):
        orders = [
            option_order(replace(PHI2, options=LETTERS, option_order=3 * circle + turn), ITEM, 0)
            for turn in range(3)
        ]
        assert all(sorted(places) == [0, 1, 2] for places in zip(*orders, strict=True))
        assert all(sorted(order) == [0, 1, 2] for order in orders)
    # The second cycle of three choices differs from the first for about half of the items.
    again = replace(PHI2, options=LETTERS, option_order=3)
    turned = [
        option_order(again, replace(ITEM, id=str(n)), 0) in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
        for n in range(40)
    ]
    assert 5 < sum(turned) < 35
    assert option_order(replace(PHI2, options=LETTERS), ITEM, 0) == (0, 1, 2)
    assert option_order(replace(PHI2, option_order=1), ITEM, 0) == (0, 1, 2)  # nothing is shown


@given(st.integers(0, 30), st.integers(0, 5), st.integers(2, 8))
@settings(max_examples=50, deadline=None)
def test_option_orders_are_orders(order: int, seed: int, count: int) -> None:
    item = replace(ITEM, choices=tuple(map(str, range(count))))
    variant = replace(PHI2, options=LABELS, option_order=order)
    shown = option_order(variant, item, seed)
    assert sorted(shown) == list(range(count))
    rendered = render(variant, item, (), seed)
    for place, choice in enumerate(shown):
        assert rendered.answers[choice] == f" {'ABCDEFGH'[place]}."


def test_another_order_is_of_the_same_examples() -> None:
    variant = replace(PHI2, shots=4)
    prompts = [
        render(replace(variant, shot_order=order), ITEM, EXAMPLES, 0).prompt.split("\n\n")
        for order in range(6)
    ]
    assert [blocks[-1] for blocks in prompts] == [PHI2.format.prompt(ITEM.question)] * 6
    assert len({tuple(sorted(blocks)) for blocks in prompts}) == 1
    assert len({tuple(blocks) for blocks in prompts}) > 3
    # Order 0 has the first four examples in the given order.
    assert [EXAMPLES[n].question in prompts[0][n] for n in range(4)] == [True] * 4


def test_seeds() -> None:
    variants = [replace(PHI2, shots=8, shot_order=1), replace(PHI2, noise=Perturbation("typos", 0.5))]
    for variant in variants:
        by_seed = [[render(variant, i, EXAMPLES, seed) for i in ASKED[:20]] for seed in (0, 0, 1)]
        assert by_seed[0] == by_seed[1] != by_seed[2]


def test_an_item_is_never_its_own_example() -> None:
    variant = replace(PHI2, shots=2)
    for again in (SHOTS[1], replace(SHOTS[1], id="another row")):
        with pytest.raises(SteadyPhiError, match="is among its own examples"):
            render(variant, again, SHOTS, 0)
    assert render(variant, SHOTS[2], SHOTS, 0).prompt.count("Instruct") == 3  # given, but not used
    with pytest.raises(SteadyPhiError, match=r"variant phi2: needs 4 examples, but there are 3"):
        render(replace(PHI2, shots=4), ITEM, SHOTS, 0)
