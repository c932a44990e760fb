"""Train on what the base answers, not on the rows' answers, so that rows need no label.

The base is asked every question in one or more formats, and its most frequent answer becomes the row's. This
is sequence-level distillation (Kim and Rush 2016, arXiv 1606.07947, section 3.2) with the base as teacher of
itself: the fine-tuned model learns to answer in all formats as the base answers in its best.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from steadyphi.data.row_formats import Dialogue
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.dialogue import stops
from steadyphi.prompts.formats import FORMATS

# Returns a text for each prompt, up to the first of the given stop strings; None where it did not end within
# the limit of its length.
Answer = Callable[[Sequence[str], Sequence[str]], Sequence[str | None]]


def taught(dialogues: Sequence[Dialogue], styles: Sequence[str], answer: Answer) -> list[Dialogue]:
    """Return the dialogues with the teacher's most frequent answer in the formats `styles`.

    Those to which it gives no answer that ends are left out. Of answers that are equally frequent, that of
    the earlier format is taken. Raises SteadyPhiError for a dialogue that is not one question, and if there
    is no answer at all.
    """
    for dialogue in dialogues:
        if not dialogue.asks_once:
            kind = "plain text" if dialogue.plain else "a dialogue of several turns"
            raise SteadyPhiError(
                f"{dialogue.id}: {kind}, but prepare.answers needs rows of one question; set it to null"
            )
    by_format = [_answers(dialogues, name, answer) for name in styles]
    answers = map(_most_frequent, zip(*by_format, strict=True))
    answered = [
        replace(dialogue, turns=((dialogue.turns[0][0], text),))
        for dialogue, text in zip(dialogues, answers, strict=True)
        if text
    ]
    if not answered:
        raise SteadyPhiError(
            f"prepare.answers: the base answers none of {len(dialogues)} questions in {', '.join(styles)}; "
            "name other formats, or set it to null"
        )
    return answered


def _answers(dialogues: Sequence[Dialogue], style: str, answer: Answer) -> Iterator[str]:
    """Return the teacher's answers in one format, up to where it would ask the next question itself."""
    format_ = FORMATS[style]
    prompts = [prompt for dialogue in dialogues for prompt in dialogue.prompts(format_)]
    return ((text or "").strip() for text in answer(prompts, stops(format_)))


def _most_frequent(texts: Sequence[str]) -> str:
    counts = Counter(filter(None, texts))
    return counts.most_common(1)[0][0] if counts else ""
