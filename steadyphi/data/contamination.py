"""Contamination: training rows that share text with the questions of the evaluation.

A row is contaminated if one of its texts is a question of the evaluation, apart from case, white space and
punctuation, or shares a run of 13 words with one (Brown et al., Language Models are Few-Shot Learners, 2020,
appendix C). A question of fewer than 13 words has no such run and is only compared as a whole. A run that
occurs in many questions, such as the same instruction before each, does not tell them apart and is ignored.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steadyphi.data.row_formats import Dialogue
from steadyphi.data.word_grams import Hashes, WordGrams
from steadyphi.prompts.item import Item

WORDS = 13
COMMON = 10  # a run in more questions than this, or in more than half of them, is ignored


class Contamination:
    """The questions of an evaluation, with which training rows are compared.

    runs: whether runs of words are compared. Whole questions always are.
    """

    def __init__(self, items: Sequence[Item], runs: bool = True) -> None:
        questions = WordGrams([item.question for item in items])
        self._ids = [item.id for item in items]
        self._whole = dict(zip(questions.whole().tolist(), self._ids, strict=True))
        self._grams, self._owner = _rare(*questions.grams(WORDS), min(COMMON, max(1, len(items) // 2)))
        self._runs = runs and len(self._grams) > 0

    def overlaps(self, dialogues: Sequence[Dialogue]) -> dict[int, tuple[str, str]]:
        """Return the contaminated ones: their index, the id of a question, and what they share with it."""
        pieces = [(n, text) for n, dialogue in enumerate(dialogues) for text in _texts(dialogue)]
        texts = WordGrams([text for _, text in pieces])
        overlaps: dict[int, tuple[str, str]] = {}
        if self._runs:
            grams, owner = texts.grams(WORDS)
            at = np.searchsorted(self._grams, grams).clip(max=len(self._grams) - 1)
            for hit in np.flatnonzero(self._grams[at] == grams):
                question = self._ids[self._owner[at[hit]]]
                overlaps.setdefault(pieces[owner[hit]][0], (question, f"{WORDS} words"))
        for (n, _), whole in zip(pieces, texts.whole().tolist(), strict=True):
            if whole in self._whole:
                overlaps[n] = (self._whole[whole], "the whole question")
        return overlaps


def _rare(grams: Hashes, owner: NDArray[np.int64], most: int) -> tuple[Hashes, NDArray[np.int64]]:
    """Return the distinct runs that occur in at most `most` questions, sorted, and a question of each."""
    pairs = np.unique(np.stack([grams, owner.astype(np.uint64)]), axis=1)
    distinct, first, times = np.unique(pairs[0], return_index=True, return_counts=True)
    return distinct[times <= most], pairs[1, first][times <= most].astype(np.int64)


def _texts(dialogue: Dialogue) -> list[str]:
    """Return a row's questions and answers, and its first question with the system text before it."""
    return sorted({dialogue.question, *(text for turn in dialogue.turns for text in turn)} - {""})
