"""Train on what the base answers, not on the rows' answers, so that rows need no label.

The base is asked every question in one or more formats, and its most frequent answer becomes the row's. This
is sequence-level distillation (Kim and Rush 2016, arXiv 1606.07947, section 3.2) with the base as teacher of
itself: the fine-tuned model learns to answer in all formats as the base answers in its best.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

from steadyphi.data.row_formats import Dialogue
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.dialogue import stops
from steadyphi.prompts.formats import FORMATS

# Returns a text for each prompt, up to the first of the given stop strings; None where it did not end within
# the limit of its length.
Answer = Callable[[Sequence[str], Sequence[str]], Sequence[str | None]]


class Taught(Sequence[Dialogue]):
    """Dialogues of one turn with the teacher's answers; those without an answer are left out."""

    def __init__(self, dialogues: Sequence[Dialogue], answers: Sequence[str]) -> None:
        """`answers` has one text per dialogue, empty where the teacher has none."""
        self.dialogues, self.answers = dialogues, answers
        self.places = [place for place, answer in enumerate(answers) if answer]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Dialogue]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Dialogue: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Dialogue]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        dialogue = self.dialogues[self.places[index]]
        return replace(dialogue, turns=((dialogue.turns[0][0], self.answers[self.places[index]]),))


def taught(dialogues: Sequence[Dialogue], styles: Sequence[str], answer: Answer) -> Taught:
    """Return the dialogues with the teacher's most frequent answer in the formats `styles`.

    Of answers that are equally frequent, that of the earlier format is taken. Raises SteadyPhiError for a
    dialogue that is not one question, and if there is no answer at all.
    """
    for dialogue in dialogues:
        if not dialogue.asks_once:
            kind = "plain text" if dialogue.plain else "a dialogue of several turns"
            raise SteadyPhiError(
                f"{dialogue.id}: {kind}, but prepare.answers needs rows of one question; set it to null"
            )
    by_format = [_answers(dialogues, name, answer) for name in styles]
    answered = Taught(dialogues, [_most_frequent(texts) for texts in zip(*by_format, strict=True)])
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
