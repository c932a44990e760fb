"""A conversation as the model reads it: turns in a prompt style, of which the oldest go when it is full."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.cache import Cache
from steadyphi.inference.generate import Options, Result, Say, begin, write
from steadyphi.model import Phi
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.tokenizer import TextTokenizer


@dataclass
class Turn:
    """A question and its answer; `tokens` as the model wrote it, where they are known."""

    question: str
    answer: str
    tokens: list[int] | None = None


@dataclass
class Conversation:
    """What was said so far, and how it is put to the model."""

    tokenizer: TextTokenizer
    style: Format = field(default_factory=lambda: FORMATS["phi2"])
    turns: list[Turn] = field(default_factory=list)

    def change_style(self, style: Format) -> None:
        """Put the whole conversation in another style from now on."""
        self.style = style
        for turn in self.turns:
            turn.tokens = None  # the space before the answer may be another

    def ask(self, question: str, context: int, answer: int) -> tuple[list[int], int]:
        """Return the tokens of the conversation with a new question, and how many old turns were dropped.

        The oldest are, and for good, until `answer` more tokens fit into `context`.
        Raises SteadyPhiError, and drops nothing, when the question alone fills it.
        """
        new = self.tokenizer.encode(self.style.prompt(question))
        if len(new) >= context:
            raise SteadyPhiError(f"the message is {len(new)} tokens long, the model's context is {context}")
        old = [self._tokens(turn) for turn in self.turns]
        dropped = 0
        while dropped < len(old) and sum(map(len, old[dropped:])) + len(new) + answer > context:
            dropped += 1
        del self.turns[:dropped]
        return [*(token for turn in old[dropped:] for token in turn), *new], dropped

    def add(self, question: str, answer: str, tokens: list[int] | None) -> None:
        """Take an answer into the history; `tokens` are left out when they are not just its text."""
        if tokens is not None and self.tokenizer.decode(tokens) != answer:
            tokens = None
        self.turns.append(Turn(question, answer, tokens))

    def text(self) -> str:
        """Return the conversation as the model reads it."""
        return "".join(
            self.style.prompt(turn.question) + self._answer(turn) + self._between(turn) for turn in self.turns
        )

    def _tokens(self, turn: Turn) -> list[int]:
        """Prompt, answer and what follows are tokenized apart, as they were when they came."""
        answer = self.tokenizer.encode(self._answer(turn)) if turn.tokens is None else turn.tokens
        prompt = self.tokenizer.encode(self.style.prompt(turn.question))
        return [*prompt, *answer, *self.tokenizer.encode(self._between(turn))]

    def _answer(self, turn: Turn) -> str:
        return turn.answer if turn.tokens is not None else self.style.answer(turn.answer.strip())

    def _between(self, turn: Turn) -> str:
        ended = len(turn.answer) - len(turn.answer.rstrip("\n")) if turn.tokens is not None else 0
        return separator(self.style)[ended:]


def separator(style: Format) -> str:
    """Return what stands between an answer and the next question."""
    return "\n\n" if "\n\n" in style.template else "\n"


def stops(style: Format) -> tuple[str, ...]:
    """Return the strings by which the model begins to ask the next question itself."""
    before, _, after = style.template.partition("{question}")
    lead_in = before.rstrip().splitlines() or after.strip().splitlines()
    return (f"\n{lead_in[-1].strip()}",) if lead_in and re.search(r"\w{2}|\w:", lead_in[-1]) else ()


class Session:
    """A model and one row of cache that stays from answer to answer: what was read once is not read again."""

    def __init__(self, model: Phi, tokenizer: TextTokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.cache = Cache(model, 1, model.config.block_size)
        self.known: list[int] = []  # the tokens that the cache has

    @torch.inference_mode()
    def answer(self, prompt: Sequence[int], options: Options, say: Say) -> Result:
        """Write on after a prompt as `generate` does."""
        (text,) = begin(self.model, self.tokenizer, [prompt], options, say)
        common = 0  # at least the last token is read anew, for what comes after it
        while common < min(len(self.known), len(prompt) - 1) and self.known[common] == prompt[common]:
            common += 1
        self.cache.truncate(common)
        self.known = []  # should this be interrupted
        ends = self.cache.extend(prompt[common:])[-1:]
        (_,) = write(self.cache, ends, [text], self.cache.step)
        self.known = [*prompt, *text.tokens][: self.cache.lengths[0]]
        return text.result()
