"""The check of each rule on lines by hand, and the position of the instruction."""

import pytest

from steadyphi.evaluation.long import rules
from steadyphi.evaluation.long.writer import Writer

VALUE = "maple"


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ("capitals", ["MAPLE", "THE PASSWORD IS MAPLE."], ["Maple", "MAPLe", "17"]),
        ("quotes", ['"maple"', '"The password is maple."'], ['"maple', 'maple"', '"', '"maple".']),
        ("full stop", ["maple.", "It is maple."], ["maple", "maple. Thanks", "maple!"]),
        ("end", ["maple indeed", "It is maple, indeed.", "Maple INDEED"], ["indeed maple", "maple"]),
        ("start", ["Surely maple", '"Surely", maple'], ["maple surely", "Sure, maple"]),
        ("one word", ["maple", "Maple.", '"maple"'], ["the maple", "maple maple"]),
        ("twice", ["maple maple", "Maple, and again maple"], ["maple", "maple maple maple", "maples maple"]),
    ],
)
def test_rules_by_hand(rule: str, kept: list[str], broken: list[str]) -> None:
    assert [rules.followed(rule, line, VALUE) for line in kept] == [True] * len(kept)
    assert [rules.followed(rule, line, VALUE) for line in [*broken, ""]] == [False] * (len(broken) + 1)


def test_every_rule_is_tested_and_its_plain_answer_tells() -> None:
    """The plain value, which a model may write anyway, follows only the rule for a single word."""
    assert [rule for rule in rules.RULES if rules.followed(rule, VALUE, VALUE)] == ["one word"]


def test_instruction_stands_where_its_position_says(writer: Writer) -> None:
    probes = rules.probes(writer, 256, len(rules.RULES) + 1, seed=2)
    assert [probe.kind for probe in probes[:4]] == ["none", "before", "after", "around"]
    assert [probe.rule for probe in probes[::4]] == [*rules.RULES, next(iter(rules.RULES))]
    for probe in probes:
        assert probe.rule is not None
        instruction = rules.RULES[probe.rule].instruction
        parts = probe.prompt.removeprefix("Instruct: ").removesuffix("\nOutput:").split("\n\n")
        value = probe.candidates[0].text
        assert parts[-1].count(f" is {value}. What is the password of the ") == 1
        places = [n for n, part in enumerate(parts) if part == instruction]
        assert places == {"none": [], "before": [0], "after": [1], "around": [0, 2]}[probe.kind]
        assert len(parts) == 2 + len(places)
        assert not probe.ranked and probe.max_new_tokens > 0


def test_deterministic_by_seed(writer: Writer) -> None:
    assert rules.probes(writer, 256, 3, seed=4) == rules.probes(writer, 256, 3, seed=4)
    assert rules.probes(writer, 256, 3, seed=4) != rules.probes(writer, 256, 3, seed=5)
