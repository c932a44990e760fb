"""The needle occurs once in the prompt, at its depth, and the ten values are distinguishable."""

import re
from itertools import combinations

import pytest

from steadyphi.evaluation.long import needle
from steadyphi.evaluation.long.filler import SENTENCES
from steadyphi.evaluation.long.probe import Probe
from steadyphi.evaluation.long.writer import DoesNotFit, Writer
from steadyphi.prompts.formats import FORMATS
from steadyphi.tokenizer import TextTokenizer

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.fixture(scope="module", params=[256, 509])
def probes(writer: Writer, request: pytest.FixtureRequest) -> list[Probe]:
    return needle.probes(writer, request.param, DEPTHS, 6, seed=3)


def occurrences(word: str, text: str) -> int:
    return len(re.findall(rf"\b{word}\b", text))


def sentences(probe: Probe) -> list[str]:
    passage = probe.prompt.removeprefix("Instruct: ").split("\n\n")[0]
    return [part.strip() for part in re.findall(r"[^.]+\.", passage)]


def test_values_stand_in_the_prompt_as_they_should(probes: list[Probe]) -> None:
    for probe in probes:
        counts = {"right": 1, "slot": 1, "distractor": 1, "absent": 0}
        for candidate in probe.candidates:
            assert occurrences(candidate.text, probe.prompt) == counts[candidate.meaning]
        meanings = [candidate.meaning for candidate in probe.candidates]
        assert [meanings.count(m) for m in counts] == [1, 1, 1, 7]  # type: ignore[arg-type]
        assert probe.candidates[probe.answer].meaning == "right" and probe.ranked


def test_candidates_can_be_told_apart(probes: list[Probe], tokenizer: TextTokenizer) -> None:
    answers = [[FORMATS["phi2"].answer(c.text) for c in probe.candidates] for probe in probes]
    for of_probe in answers:
        for a, b in combinations([tokenizer.encode(text) for text in of_probe], 2):
            shorter = min(len(a), len(b))
            assert a[:shorter] != b[:shorter]
    assert len({probe.answer for probe in probes}) > 1


def test_the_question_asks_for_the_needles_key(probes: list[Probe]) -> None:
    for probe in probes:
        (key,) = re.findall(r"What is the password of the (\w+ \w+)\?", probe.prompt)
        given = dict(re.findall(r"[Tt]he password of the (\w+ \w+) is (\w+)\.", probe.prompt))
        assert len(given) == 2
        assert given[key] == probe.candidates[probe.answer].text
        slot = next(c.text for c in probe.candidates if c.meaning == "slot")
        assert given[next(other for other in given if other != key)] == slot
        assert probe.prompt.startswith("Instruct: ") and probe.prompt.endswith(
            "Answer with one word.\nOutput:"
        )


def test_needle_is_where_depth_says(probes: list[Probe], tokenizer: TextTokenizer) -> None:
    sizes = {s: len(tokenizer.encode(f" {s}")) for s in SENTENCES}
    for probe in probes:
        parts = sentences(probe)
        at = next(n for n, s in enumerate(parts) if s.endswith(f" is {probe.candidates[probe.answer].text}."))
        before = sum(sizes.get(s, 0) for s in parts[:at])
        total = sum(sizes.get(s, 0) for s in parts)
        assert probe.depth is not None
        assert abs(before - probe.depth * total) <= max(sizes.values()) / 2
        if probe.depth in (0, 1):
            assert at == (0 if probe.depth == 0 else len(parts) - 1)


def test_same_fact_and_filler_at_every_depth(probes: list[Probe]) -> None:
    for first in range(0, len(probes), len(DEPTHS)):
        at_depths = probes[first : first + len(DEPTHS)]
        assert [probe.depth for probe in at_depths] == list(DEPTHS)
        assert len({probe.item for probe in at_depths}) == len({probe.candidates for probe in at_depths}) == 1
        assert len({tuple(s for s in sentences(probe) if s in SENTENCES) for probe in at_depths}) == 1
        assert len({probe.prompt for probe in at_depths}) == len(DEPTHS)
    assert len({probe.candidates for probe in probes}) == 6


def test_deterministic_by_seed(writer: Writer) -> None:
    made = needle.probes(writer, 300, (0, 1), 2, seed=5)
    assert made == needle.probes(writer, 300, (0, 1), 2, seed=5)
    assert made != needle.probes(writer, 300, (0, 1), 2, seed=6)
    assert made[:2] == needle.probes(writer, 300, (0, 1), 1, seed=5)


def test_too_short_for_the_depths(writer: Writer) -> None:
    with pytest.raises(DoesNotFit):
        needle.probes(writer, 80, DEPTHS, 1, seed=0)
