"""A long prompt with its possible answers, and the result of a model on it."""

from dataclasses import dataclass
from typing import Literal

from steadyphi.evaluation.matching import exact_match

Task = Literal["needle", "rules", "padding", "multi-key", "variable tracking"]

Meaning = Literal["right", "slot", "distractor", "absent", "choice"]
"""The meaning of an answer.

"right"; "slot": the value of another key or variable; "distractor": the value that a sentence of the prompt
calls wrong; "absent": a value that is not in the prompt; "choice": a wrong choice of an item.
"""


@dataclass(frozen=True)
class Candidate:
    """A possible answer and its meaning."""

    text: str
    meaning: Meaning


@dataclass(frozen=True)
class Probe:
    """A prompt to answer.

    kind: the variant of the task (the position of the instruction, or the kind of padding).
    item: identifies the fact, question or rule, at every length, depth and kind.
    length: the most tokens of the prompt and the longest answer together; 0 if nothing is padded.
    depth: the share of the filler before the fact, 0 to 1; None if the task has no single fact.
    candidates: exactly one is right. Several candidates are ranked; a single one is only the right value.
    max_new_tokens: of the text to generate; 0 if none is needed.
    rule: the rule that the text is checked for, a key of `steadyphi.evaluation.long.rules.RULES`.
    """

    task: Task
    kind: str
    item: str
    length: int
    depth: float | None
    prompt: str
    candidates: tuple[Candidate, ...]
    max_new_tokens: int
    rule: str | None = None

    @property
    def ranked(self) -> bool:
        """Whether the candidates are scored."""
        return len(self.candidates) > 1

    @property
    def answer(self) -> int:
        """The index of the right candidate."""
        return [candidate.meaning for candidate in self.candidates].index("right")


@dataclass(frozen=True)
class ProbeResult:
    """The result of a model on a probe.

    logprobs: of each candidate, in nats, summed over its tokens; None if they were not scored.
    text: the generated text; None if none was generated.
    """

    probe: Probe
    logprobs: tuple[float, ...] | None
    text: str | None

    @property
    def line(self) -> str:
        """The first line of the text that is not blank, without surrounding space. All checks use it."""
        lines = (line.strip() for line in (self.text or "").splitlines())
        return next((line for line in lines if line), "")

    @property
    def top(self) -> Candidate | None:
        """The candidate that ranks first. In a tie, a wrong one ranks before the right one."""
        if self.logprobs is None:
            return None
        ranked = sorted(
            zip(self.logprobs, self.probe.candidates, strict=True),
            key=lambda pair: (-pair[0], pair[1].meaning == "right"),
        )
        return ranked[0][1]

    @property
    def recalled(self) -> bool:
        """Whether the right candidate is more likely than each of the others."""
        return self.top is not None and self.top.meaning == "right"

    @property
    def exact(self) -> bool:
        """Whether the text is the right answer and nothing else, after normalization."""
        return exact_match(self.text or "", self.probe.candidates[self.probe.answer].text)
