"""Prompts of a given number of tokens: as much filler as fits, with facts at given depths."""

import itertools
import random
from collections.abc import Callable, Sequence

from steadyphi.evaluation.long import filler
from steadyphi.evaluation.long.probe import Candidate
from steadyphi.prompts.formats import Format
from steadyphi.tokenizer import TextTokenizer

Write = Callable[[list[str]], str]  # from filler sentences to the whole question with its passage


class DoesNotFit(Exception):
    """A prompt cannot be as short as requested. The message says how many tokens it needs."""


class Writer:
    """Writes prompts in one format, and counts their tokens with one tokenizer."""

    def __init__(self, tokenizer: TextTokenizer, format_: Format) -> None:
        self._tokenizer = tokenizer
        self._format = format_
        self._sentences: dict[str, int] = {}

    def prompt(self, question: str) -> str:
        """Return the prompt for a question."""
        return self._format.prompt(question)

    def count(self, question: str) -> int:
        """Return the number of tokens of the prompt for a question."""
        return len(self._tokenizer.encode(self.prompt(question)))

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text when it follows a space."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._sentences]
        for text, ids in zip(missing, self._tokenizer.encode_batch([f" {t}" for t in missing]), strict=True):
            self._sentences[text] = len(ids)
        return [self._sentences[text] for text in texts]

    def answer_tokens(self, answers: Sequence[str]) -> dict[str, int]:
        """Return the number of tokens of each answer, in the form that the model produces."""
        ids = self._tokenizer.encode_batch([self._format.answer(answer) for answer in answers])
        return {answer: len(answer_ids) for answer, answer_ids in zip(answers, ids, strict=True)}

    def room(self, candidates: Sequence[Candidate], max_new_tokens: int) -> int:
        """Return the number of tokens to reserve for the answer, whether it is scored or generated."""
        return max(max_new_tokens, *self.answer_tokens([c.text for c in candidates]).values())

    def fit(
        self, write: Write, sentences: Sequence[str], budget: int, seed: str, least: int = 1
    ) -> list[str]:
        """Return as many filler sentences as fit in a prompt of at most `budget` tokens.

        The rest of the budget is too small for any other sentence, except that a token or two may be wasted
        because the text around the filler is tokenized differently than it was counted.
        write: makes the question from the sentences. Raises DoesNotFit if fewer than `least` sentences fit.
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
            f"too short; the text around the filler takes {frame} of the {budget} tokens for the prompt, "
            f"and at least {least} filler sentences should fit in the rest"
        )

    def passage(self, sentences: Sequence[str], facts: Sequence[tuple[float, str]]) -> str:
        """Return the filler with each fact at its depth: the share of the filler's tokens before it.

        Facts are inserted at the nearest boundary of a sentence: before the first at depth 0, and after the
        last at depth 1. Facts at the same boundary are ordered by depth.
        """
        ends = [0, *itertools.accumulate(self.tokens(sentences))]
        parts = [(float(place), 0.0, sentence) for place, sentence in enumerate(sentences)]
        for depth, fact in facts:
            gap = min(range(len(ends)), key=lambda i: abs(ends[i] - depth * ends[-1]))
            parts.append((gap - 0.5, depth, fact))
        return " ".join(sentence for _, _, sentence in sorted(parts, key=lambda part: part[:2]))
