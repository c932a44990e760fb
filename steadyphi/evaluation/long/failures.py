"""The cause of each wrong answer to a long prompt. The rules give every failure exactly one cause."""

import re
from typing import Literal

from steadyphi.evaluation.long.probe import Meaning, ProbeResult
from steadyphi.evaluation.long.rules import followed

Failure = Literal["forgot", "ignored", "misread", "echoed", "other"]
FAILURES: tuple[Failure, ...] = ("forgot", "ignored", "misread", "echoed", "other")

ECHO_WORDS = 8  # this many words in a row from the prompt are a repetition,
ECHO_LEAST = 3  # or at least this many, if the line has no others
_BY_MEANING: dict[Meaning, Failure] = {
    "slot": "misread",
    "distractor": "ignored",
    "absent": "forgot",
    "right": "other",
    "choice": "other",
}


def failed(result: ProbeResult) -> bool:
    """Return whether a probe was answered wrong: its rule was broken, or a wrong candidate ranks first."""
    probe = result.probe
    if probe.rule is not None:
        return not followed(probe.rule, result.line, probe.candidates[probe.answer].text)
    return not result.recalled


def cause(result: ProbeResult) -> Failure:
    """Return why a probe failed (`failed`). The first case that applies decides:

    1. The generated line names the value of a candidate. The first one that it names decides. The value of
       another key or variable: misread. The value that the prompt calls wrong: ignored. A value that is not
       in the prompt: forgot. The right value: ignored if the probe has a rule (the model answered the
       question and did not follow the instruction), otherwise other (a wrong candidate ranks first, so
       scoring and generation disagree).
    2. The first `ECHO_WORDS` words of the line, or all of at least `ECHO_LEAST` words, occur in the prompt in
       a row: echoed.
    3. The candidate that ranks first decides, as in 1.
    4. Nothing was ranked, and the line is empty, or neither the answer nor a repetition: forgot.
    """
    named = _first_named(result)
    if named == "right" and result.probe.rule is not None:
        return "ignored"
    if named is not None:
        return _BY_MEANING[named]
    if _echoes(result):
        return "echoed"
    return _BY_MEANING[result.top.meaning] if result.top else "forgot"


def _first_named(result: ProbeResult) -> Meaning | None:
    """Return the meaning of the candidate that the line names first, as whole words, if any."""
    line = _words(result.line)
    places = []
    for candidate in result.probe.candidates:
        words = _words(candidate.text)
        starts = [n for n in range(len(line)) if line[n : n + len(words)] == words]
        places += [(starts[0], -len(words), candidate.meaning)] if starts and words else []
    return min(places)[2] if places else None


def _echoes(result: ProbeResult) -> bool:
    written = _words(result.line)[:ECHO_WORDS]
    joined = f" {' '.join(_words(result.probe.prompt))} "
    return len(written) >= ECHO_LEAST and f" {' '.join(written)} " in joined


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
