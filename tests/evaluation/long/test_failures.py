"""Causes of failures: cases by hand for each rule, and a check that every failure has exactly one cause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadyphi.evaluation.long.failures import FAILURES, cause, failed
from steadyphi.evaluation.long.probe import Candidate, Meaning, Probe, ProbeResult, Task

FILLER = "The road was almost empty and nobody was in a hurry to get home. It was a calm morning."
FACTS = "The password of the blue box is river. The password of the red box is table."
PROMPT = f"Q: {FILLER} {FACTS}\n\nWhat is the password of the blue box? Answer with one word.\nA:"
CANDIDATES = (
    Candidate("table", "slot"),
    Candidate("river", "right"),
    Candidate("stone", "distractor"),
    Candidate("bread", "absent"),
)


def ranked(top: str, text: str | None = None, candidates: tuple[Candidate, ...] = CANDIDATES) -> ProbeResult:
    """Return the result of a needle in which one candidate is the most likely."""
    probe = Probe("needle", "", "1", 100, 0.5, PROMPT, candidates, 8 if text is not None else 0)
    return ProbeResult(probe, tuple(-1.0 if c.text == top else -2.0 for c in candidates), text)


def ruled(text: str, rule: str = "capitals") -> ProbeResult:
    probe = Probe("rules", "before", "1", 100, None, PROMPT, (Candidate("river", "right"),), 8, rule)
    return ProbeResult(probe, None, text)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        # by rank alone
        (ranked("table"), "misread"),
        (ranked("stone"), "ignored"),
        (ranked("bread"), "forgot"),
        # the text takes precedence over the ranking
        (ranked("bread", "table"), "misread"),
        (ranked("table", "It is bread.\nQ: stone"), "forgot"),
        (ranked("table", "Stone, not river"), "ignored"),
        (ranked("table", "river"), "other"),
        (ranked("table", "It was not riverside"), "misread"),
        # repetitions of the question and of filler, cut off or continued after eight words
        (ranked("table", " What is the password of the blue box?"), "echoed"),
        (ranked("table", "\n\nNobody was in a"), "echoed"),
        (ranked("table", "The road was almost empty and nobody was late that day"), "echoed"),
        (ranked("table", "The road was almost empty and somebody was"), "misread"),
        (ranked("table", "calm morning"), "misread"),  # two words may be chance
        (ranked("bread", "The password of the red box is table."), "misread"),  # a fact is no filler
        (ranked("table", ""), "misread"),
        # rules
        (ruled("river"), "ignored"),
        (ruled("The password of the blue box is river."), "ignored"),
        (ruled("it was a calm morning"), "echoed"),
        (ruled("I do not know"), "forgot"),
        (ruled(""), "forgot"),
    ],
)
def test_causes_by_hand(result: ProbeResult, expected: str) -> None:
    assert failed(result)
    assert cause(result) == expected


@pytest.mark.parametrize(
    "result",
    [ranked("river"), ranked("river", "bread"), ruled("RIVER"), ruled("NO"), ruled("no.", "full stop")],
)
def test_right_is_no_failure(result: ProbeResult) -> None:
    assert not failed(result)


def test_a_tie_is_no_recall() -> None:
    probe = ranked("river").probe
    assert failed(ProbeResult(probe, (-1.0, -1.0, -2.0, -2.0), None))
    assert cause(ProbeResult(probe, (-1.0, -1.0, -2.0, -2.0), None)) == "misread"


def test_first_line_counts() -> None:
    assert ranked("table", "\n  \n river \nbread").line == "river"
    assert ranked("table", "river\nQ: What next?").exact
    assert not ranked("table", "bread").exact
    assert ruled("").line == "" and ProbeResult(ruled("").probe, None, None).line == ""


MEANINGS: tuple[Meaning, ...] = ("slot", "distractor", "absent", "choice")
TASKS: tuple[Task, ...] = ("needle", "multi-key", "variable tracking", "padding")


@given(
    st.sampled_from(TASKS),
    st.lists(st.sampled_from(MEANINGS), max_size=9),
    st.lists(st.floats(allow_nan=False), min_size=10, max_size=10),
    st.one_of(st.none(), st.text(max_size=30), st.sampled_from([PROMPT, FILLER, "v0 v1", "V3."])),
    st.sampled_from([None, "capitals", "full stop"]),
)
def test_every_failure_has_one_cause(
    task: Task, meanings: list[Meaning], logprobs: list[float], text: str | None, rule: str | None
) -> None:
    candidates = (Candidate("v0", "right"), *(Candidate(f"v{n + 1}", m) for n, m in enumerate(meanings)))
    probe = Probe(task, "", "1", 1, None, PROMPT, candidates, 1, rule)
    result = ProbeResult(probe, tuple(logprobs[: len(candidates)]) if probe.ranked else None, text)
    assert cause(result) in FAILURES
    if text is None and result.top and result.top.meaning == "slot":
        assert failed(result) and cause(result) == "misread"
