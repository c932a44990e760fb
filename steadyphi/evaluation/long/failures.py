"""Why a long prompt was not answered right, by rules that give every failure exactly one cause."""

import re
from typing import Literal

from steadyphi.evaluation.long.probe import Meaning, ProbeResult
from steadyphi.evaluation.long.rules import followed

Failure = Literal["forgot", "ignored", "misread", "echoed", "other"]
FAILURES: tuple[Failure, ...] = ("forgot", "ignored", "misread", "echoed", "other")

ECHO_WORDS = 8  # so many words in a row from the prompt are a repetition of it,
ECHO_LEAST = 3  # or fewer, if they are all that was written
_BY_MEANING: dict[Meaning, Failure] = {
    "slot": "misread",
    "distractor": "ignored",
    "absent": "forgot",
    "right": "other",
    "choice": "other",
}


def failed(result: ProbeResult) -> bool:
    """Return whether a probe was answered wrong: the rule broken, or another candidate ranked first."""
    probe = result.probe
    if probe.rule is not None:
        return not followed(probe.rule, result.line, probe.candidates[probe.answer].text)
    return not result.recalled


def cause(result: ProbeResult) -> Failure:
    """Return why a probe failed (`failed`). The first that holds:

    1. The line written names a candidate's value: the first one it names tells. The value of another key
       or variable: misread. The value that the prompt calls wrong: ignored. A value that is not in the
       prompt: forgot. The right value: ignored where a rule was to be followed (the question was
       answered and the instruction was not heeded), other where another candidate ranks first (the two
       ways of asking disagree).
    2. Its first `ECHO_WORDS` words, or all of at least `ECHO_LEAST`, stand in the prompt in a row: echoed.
    3. The candidate that ranks first tells, as in 1.
    4. Nothing was ranked, and what was written, if anything, is neither the answer nor a repetition: forgot.
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
    """Return the meaning of the candidate whose text comes first in the line, as whole words."""
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
