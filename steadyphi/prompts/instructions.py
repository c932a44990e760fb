"""Paraphrases of one instruction: answer the question correctly.

A model's accuracy depends on the paraphrase (Mizrahi et al. 2024, arXiv 2401.00595). The effect has been
measured for politeness (Yin et al. 2024, arXiv 2402.14531), a persona (Zheng et al. 2023, arXiv
2311.10054) and emotional pressure (EmotionPrompt, Li et al. 2023, arXiv 2307.11760). The sentences are
our own, written and compared by hand. Each asks for the correct answer and nothing else. None says how to
write the answer or where the question is, so each fits before or after the question, with or without options.
"""

from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "polite", "persona", "urgent", "terse"]


@dataclass(frozen=True)
class Instruction:
    """One wording; `name` is its tone and its number within the tone, such as `polite-2`."""

    name: str
    tone: Tone
    text: str


def _numbered(*wordings: tuple[Tone, str]) -> tuple[Instruction, ...]:
    tones = [tone for tone, _ in wordings]
    return tuple(
        Instruction(f"{tone}-{tones[: n + 1].count(tone)}", tone, text)
        for n, (tone, text) in enumerate(wordings)
    )


# The tones alternate, so that the first five wordings cover all tones.
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
