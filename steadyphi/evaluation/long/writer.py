"""Prompts of a wanted number of tokens: as much filler as fits, facts at the depths asked for."""

import itertools
import random
from collections.abc import Callable, Sequence

from steadyphi.evaluation.long import filler
from steadyphi.evaluation.long.probe import Candidate
from steadyphi.prompts.formats import Format
from steadyphi.tokenizer import TextTokenizer

Write = Callable[[list[str]], str]  # filler sentences to the whole question, passage and all


class DoesNotFit(Exception):
    """A prompt cannot be made as short as asked; the text says what it takes."""


class Writer:
    """Writes prompts in one format, counted by one tokenizer."""

    def __init__(self, tokenizer: TextTokenizer, format_: Format) -> None:
        self._tokenizer = tokenizer
        self._format = format_
        self._sentences: dict[str, int] = {}

    def prompt(self, question: str) -> str:
        """Return the text that the model is given."""
        return self._format.prompt(question)

    def count(self, question: str) -> int:
        """Return the tokens of the prompt with this question."""
        return len(self._tokenizer.encode(self.prompt(question)))

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text where it stands after a space."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._sentences]
        for text, ids in zip(missing, self._tokenizer.encode_batch([f" {t}" for t in missing]), strict=True):
            self._sentences[text] = len(ids)
        return [self._sentences[text] for text in texts]

    def answer_tokens(self, answers: Sequence[str]) -> dict[str, int]:
        """Return the tokens of each answer, as the model has to produce it."""
        ids = self._tokenizer.encode_batch([self._format.answer(answer) for answer in answers])
        return {answer: len(found) for answer, found in zip(answers, ids, strict=True)}

    def room(self, candidates: Sequence[Candidate], max_new_tokens: int) -> int:
        """Return the tokens to keep for the answer, whether it is scored or generated."""
        return max(max_new_tokens, *self.answer_tokens([c.text for c in candidates]).values())

    def fit(
        self, write: Write, sentences: Sequence[str], budget: int, seed: str, least: int = 1
    ) -> list[str]:
        """Return as many filler sentences as make a prompt of at most `budget` tokens.

        What is left of the budget is too little for any further sentence, but for a token or two where the
        text around the filler is tokenized otherwise than counted.
        Raises DoesNotFit when fewer than `least` sentences go in.
        """
        tokens = self.tokens(sentences)
        short = min(range(len(tokens)), key=lambda i: tokens[i])
        frame = self.count(write([sentences[short]])) - tokens[short]
        spare = budget - frame
        while len(chosen := filler.take(sentences, tokens, spare, random.Random(seed))) >= least:
            over = self.count(write(chosen)) - budget
            if over <= 0:
                return chosen
            spare -= over
        raise DoesNotFit(
            f"too short; of the {budget} tokens for the prompt all but the filler takes {frame}, "
            f"and at least {least} of its sentences should go in"
        )

    def passage(self, sentences: Sequence[str], facts: Sequence[tuple[float, str]]) -> str:
        """Return the filler with each fact at its depth: the share of the filler's tokens before it.

        Facts stand between sentences, at the nearest end of one, so at depth 0 first of all and at 1 last.
        Facts that come to the same place are in the order of their depths.
        """
        ends = [0, *itertools.accumulate(self.tokens(sentences))]
        parts = [(float(place), 0.0, sentence) for place, sentence in enumerate(sentences)]
        for depth, fact in facts:
            gap = min(range(len(ends)), key=lambda i: abs(ends[i] - depth * ends[-1]))
            parts.append((gap - 0.5, depth, fact))
        return " ".join(sentence for _, _, sentence in sorted(parts, key=lambda part: part[:2]))
