"""The answer follows from the prompt; the tests find it by interpreting the prompt as a program."""

import re

import pytest

from steadyphi.evaluation.long import multi_key
from steadyphi.evaluation.long.probe import Probe
from steadyphi.evaluation.long.writer import DoesNotFit, Writer


def check_candidates(probe: Probe, in_prompt: set[str], right: str) -> None:
    assert len({c.text for c in probe.candidates}) == len(probe.candidates) == 10
    for candidate in probe.candidates:
        meaning = "right" if candidate.text == right else "slot" if candidate.text in in_prompt else "absent"
        assert candidate.meaning == meaning
        occurrences = len(re.findall(rf"\b{candidate.text}\b", probe.prompt))
        assert occurrences == (0 if meaning == "absent" else 1)


@pytest.mark.parametrize("length", [200, 512])
def test_variables_by_interpreter(writer: Writer, length: int) -> None:
    probes = multi_key.variables(writer, length, 8, seed=1)
    for probe in probes:
        memory: dict[str, str] = {}
        for name, value in re.findall(r"\b([XY]\d) = (\w+)\.", probe.prompt):
            memory[name] = memory.get(value, value)  # each variable is assigned before it is used
        (asked,) = re.findall(r"value of (\w+)\?", probe.prompt)
        assert sorted(memory) == ["X1", "X2", "X3", "Y1", "Y2", "Y3"] and asked == "X3"
        check_candidates(probe, set(memory.values()), memory[asked])
    orders = {tuple(re.findall(r"([XY]\d) = ", probe.prompt)) for probe in probes}
    assert len(orders) > 1  # the chains are interleaved differently each time


@pytest.mark.parametrize("length", [200, 512])
def test_multi_key_by_reading(writer: Writer, length: int) -> None:
    probes = multi_key.multi_key(writer, length, 8, seed=1)
    for probe in probes:
        memory = dict(re.findall(r"password of the (\w+ \w+) is (\w+)\.", probe.prompt))
        (asked,) = re.findall(r"What is the password of the (\w+ \w+)\?", probe.prompt)
        assert len(memory) == multi_key.KEYS
        check_candidates(probe, set(memory.values()), memory[asked])
    places = [
        re.findall(r"password of the (\w+ \w+)", probe.prompt).index(key) for probe, key in asked_keys(probes)
    ]
    assert len(set(places)) > 1  # the asked key is not always the same one


def asked_keys(probes: list[Probe]) -> list[tuple[Probe, str]]:
    return [(p, re.findall(r"What is the password of the (\w+ \w+)\?", p.prompt)[0]) for p in probes]


def test_deterministic_by_seed(writer: Writer) -> None:
    for make in (multi_key.variables, multi_key.multi_key):
        assert make(writer, 256, 2, seed=4) == make(writer, 256, 2, seed=4)
        assert make(writer, 256, 2, seed=4) != make(writer, 256, 2, seed=5)
        with pytest.raises(DoesNotFit):
            make(writer, 60, 1, seed=0)
