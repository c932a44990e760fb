"""Paraphrases of one instruction: to answer the question, and rightly.

How well a model does depends on the paraphrase (Mizrahi et al. 2024, arXiv 2401.00595), and has been
measured for politeness (Yin et al. 2024, arXiv 2402.14531), a persona (Zheng et al. 2023, arXiv
2311.10054) and emotional pressure (EmotionPrompt, Li et al. 2023, arXiv 2307.11760). The sentences are
our own, written and compared by hand: each asks for the correct answer and for nothing else, none says
how to write it, and none says where the question stands, so that it may come before or after it, above
options as well as without any.
"""

from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "polite", "persona", "urgent", "terse"]


@dataclass(frozen=True)
class Instruction:
    """One wording; `name` is its tone and its number among those of the tone."""

    name: str
    tone: Tone
    text: str


def _numbered(*wordings: tuple[Tone, str]) -> tuple[Instruction, ...]:
    tones = [tone for tone, _ in wordings]
    return tuple(
        Instruction(f"{tone}-{tones[: n + 1].count(tone)}", tone, text)
        for n, (tone, text) in enumerate(wordings)
    )


# The tones take turns, so that the first few have one of each.
INSTRUCTIONS = _numbered(
    ("plain", "Answer the question correctly."),
    ("polite", "Please answer the question correctly."),
    ("persona", "You are a helpful assistant. Answer the question correctly."),
    ("urgent", "This is very important: answer the question correctly!"),
    ("terse", "Correct answer only."),
    ("plain", "Provide the correct answer to the question."),
    ("polite", "Could you please provide the correct answer to the question? Thank you."),
    ("persona", "You are an expert in the subject. Provide the correct answer to the question."),
    ("urgent", "Provide the correct answer to the question at once!"),
    ("terse", "Just the correct answer."),
    ("plain", "Respond to the question with the answer that is correct."),
    ("polite", "I would be grateful if you provided the correct answer to the question."),
    ("persona", "You are a professor who explains things well. Answer the question correctly."),
)
