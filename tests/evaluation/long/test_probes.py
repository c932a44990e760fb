"""All tasks: prompts are within their budget, left-out lengths are reported, an oracle finds the answers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.errors import SteadyPhiError
from steadyphi.evaluation.long.probe import Meaning, Probe, ProbeResult
from steadyphi.evaluation.long.probes import probes
from steadyphi.evaluation.long.summary import summarize
from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.item import Item
from steadyphi.tokenizer import TextTokenizer


@settings(max_examples=4, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.integers(330, 1024), st.integers(0, 99))
def test_budget_is_respected(
    tokenizer: TextTokenizer, items: list[Item], name: str, length: int, seed: int
) -> None:
    """Prompt and longest answer have at most the given tokens, and nearly as many; one answer is right."""
    made = probes(tokenizer, items, FORMATS[name], [length], [0, 0.3, 1], 2, 1024, seed)
    assert made.left_out == []
    assert {p.task for p in made.probes} == {"needle", "rules", "padding", "multi-key", "variable tracking"}
    for probe in made.probes:
        answers = [len(tokenizer.encode(FORMATS[name].answer(c.text))) for c in probe.candidates]
        used = len(tokenizer.encode(probe.prompt)) + max(probe.max_new_tokens, *answers)
        assert used <= 1024
        if probe.length:
            assert length - 30 < used <= length == probe.length
        meanings = [c.meaning for c in probe.candidates]
        assert meanings.count("right") == 1 and meanings[probe.answer] == "right"
        assert len({c.text for c in probe.candidates}) == len(meanings)
    assert made == probes(tokenizer, items, FORMATS[name], [length], [0, 0.3, 1], 2, 1024, seed)


def test_left_out_lengths_are_named(tiny: TextTokenizer, items: list[Item]) -> None:
    made = probes(tiny, items, FORMATS["phi2"], [1024, 30, 512, 512], [0, 0.5, 1], 2, 512, 0)
    assert made.left_out[0] == "1024 tokens: more than the model's context of 512"
    assert [line.split(":")[0] for line in made.left_out[1:]] == [
        "30 tokens, padding",
        "30 tokens, needle",
        "30 tokens, rules",
        "30 tokens, multi-key",
        "30 tokens, variable tracking",
    ]
    assert {p.length for p in made.probes} == {0, 512}
    # 3 depths, 4 positions, 2 kinds of padding and none at all, 2 tasks of tracking; each twice
    assert len(made.probes) == 2 * (3 + 4 + 2 + 1 + 2)


def test_no_items_no_padding(tiny: TextTokenizer) -> None:
    made = probes(tiny, [], FORMATS["phi2"], [512], [0.5], 1, 512, 0)
    assert "padding" not in {probe.task for probe in made.probes}
    assert made.left_out == ["512 tokens, padding: too few items can be padded to this length"]


@pytest.mark.parametrize(
    ("depths", "count", "message"),
    [
        ([0, 1.5], 1, "depths: should be from 0 to 1, not 1.5"),
        ([], 1, "0 depths and count 1; both should be 1 or more"),
        ([0.5], 0, "1 depths and count 0; both should be 1 or more"),
    ],
)
def test_bad_settings_are_named(tiny: TextTokenizer, depths: list[float], count: int, message: str) -> None:
    with pytest.raises(SteadyPhiError, match=message):
        probes(tiny, [], FORMATS["phi2"], [512], depths, count, 512, 0)


def answered(probe: Probe, meaning: Meaning) -> ProbeResult:
    """Return the result of a model that prefers this meaning, and writes the right value in capitals."""
    logprobs = tuple(float(c.meaning == meaning) for c in probe.candidates) if probe.ranked else None
    text = probe.candidates[probe.answer].text.upper() if probe.max_new_tokens else None
    return ProbeResult(probe, logprobs, text)


def test_oracle_finds_everything_and_another_nothing(tiny: TextTokenizer, items: list[Item]) -> None:
    made = probes(tiny, items, FORMATS["phi2"], [256, 512], [0, 0.5, 1], 2, 512, 0).probes
    right = summarize([answered(probe, "right") for probe in made])
    assert {row.share for row in right.needle} == {row.exact for row in right.needle} == {1.0}
    assert {row.share for row in right.padding + right.tracking} == {1.0}
    # the first rule asks for capitals, the second for quotation marks
    assert {row.share for row in right.rules} == {0.5}
    assert (right.effective_length, right.mid_dip) == (512, 0.0)
    wrong = summarize([answered(probe, "slot") for probe in made])
    assert {row.share for row in wrong.needle} == {0.0}
    assert {row.share for row in wrong.tracking} == {0.0}
    # 12 needles whose text still has the right value, 6 broken rules, 8 tracked values
    assert wrong.failures == {"forgot": 0, "ignored": 6, "misread": 8, "echoed": 0, "other": 12}
