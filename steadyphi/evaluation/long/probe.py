"""One long prompt with what may be answered, and what a model made of it."""

from dataclasses import dataclass
from typing import Literal

from steadyphi.evaluation.matching import exact_match

Task = Literal["needle", "rules", "padding", "multi-key", "variable tracking"]

Meaning = Literal["right", "slot", "distractor", "absent", "choice"]
"""What it means to answer so.

"right"; "slot": the value of another key or variable; "distractor": the value that a sentence of the prompt
calls wrong; "absent": a value that is nowhere in the prompt; "choice": an item's wrong choice.
"""


@dataclass(frozen=True)
class Candidate:
    """A possible answer and its meaning."""

    text: str
    meaning: Meaning


@dataclass(frozen=True)
class Probe:
    """A prompt to be answered.

    kind: of the same task, what this one is (where the instruction stands, what the padding is made of).
    item: which fact, question or rule; it is the same at every length, depth and kind.
    length: tokens that the prompt and the longest answer may have together; 0 where nothing is padded.
    depth: which share of the filler stands before the fact, 0 to 1; None where the task has no single one.
    candidates: exactly one is right. They are ranked where there are several; a single one only says what
    the text should be about.
    max_new_tokens: of the text to be generated; 0 where none is needed.
    rule: what the text is checked for, a key of `steadyphi.evaluation.long.rules.RULES`.
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
        """Whether the candidates are to be scored."""
        return len(self.candidates) > 1

    @property
    def answer(self) -> int:
        """The right candidate's index."""
        return [candidate.meaning for candidate in self.candidates].index("right")


@dataclass(frozen=True)
class ProbeResult:
    """What a model made of a probe.

    logprobs: of each candidate, nats, summed over its tokens; None where they were not scored.
    text: what was generated; None where nothing was.
    """

    probe: Probe
    logprobs: tuple[float, ...] | None
    text: str | None

    @property
    def line(self) -> str:
        """The first line of the text that is not blank, without space around it; all checks look at it."""
        lines = (line.strip() for line in (self.text or "").splitlines())
        return next((line for line in lines if line), "")

    @property
    def top(self) -> Candidate | None:
        """The candidate that ranks first; a wrong one before the right one where both are equally likely."""
        if self.logprobs is None:
            return None
        ranked = sorted(
            zip(self.logprobs, self.probe.candidates, strict=True),
            key=lambda pair: (-pair[0], pair[1].meaning == "right"),
        )
        return ranked[0][1]

    @property
    def recalled(self) -> bool:
        """Whether the right candidate is likelier than each of the others."""
        return self.top is not None and self.top.meaning == "right"

    @property
    def exact(self) -> bool:
        """Whether the text is the right answer and nothing else, after normalization."""
        return exact_match(self.text or "", self.probe.candidates[self.probe.answer].text)
