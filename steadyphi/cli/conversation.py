"""Builds the prompt of a conversation from its turns, and drops the oldest turns if it is too long."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.cache import Cache
from steadyphi.inference.generate import OnText, Options, Result, begin, write
from steadyphi.model import Phi
from steadyphi.prompts.dialogue import SEPARATOR
from steadyphi.prompts.formats import DEFAULT, FORMATS, Format
from steadyphi.tokenizer import TextTokenizer


@dataclass
class Turn:
    """A question and its answer. `tokens` are the token ids that the model generated, if known."""

    question: str
    answer: str
    tokens: list[int] | None = None


@dataclass
class Conversation:
    """The turns so far and the prompt style in which the model reads them."""

    tokenizer: TextTokenizer
    style: Format = field(default_factory=lambda: FORMATS[DEFAULT])
    turns: list[Turn] = field(default_factory=list)

    def change_style(self, style: Format) -> None:
        """Change the prompt style of the whole conversation."""
        self.style = style
        for turn in self.turns:
            turn.tokens = None  # the space before the answer may differ

    def ask(self, question: str, context: int, answer: int) -> tuple[list[int], int]:
        """Return the tokens of the conversation with a new question, and the number of dropped turns.

        The oldest turns are dropped permanently, until `answer` more tokens fit into `context`.
        Raises SteadyPhiError without dropping turns if the question alone fills the context.
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
        """Add a turn to the history. `tokens` are discarded if they do not decode to exactly the answer."""
        if tokens is not None and self.tokenizer.decode(tokens) != answer:
            tokens = None
        self.turns.append(Turn(question, answer, tokens))

    def text(self) -> str:
        """Return the prompt text of the conversation."""
        return "".join(
            self.style.prompt(turn.question) + self._answer(turn) + self._between(turn) for turn in self.turns
        )

    def _tokens(self, turn: Turn) -> list[int]:
        """Tokenize the prompt, the answer and the separator separately, as during generation."""
        answer = self.tokenizer.encode(self._answer(turn)) if turn.tokens is None else turn.tokens
        prompt = self.tokenizer.encode(self.style.prompt(turn.question))
        return [*prompt, *answer, *self.tokenizer.encode(self._between(turn))]

    def _answer(self, turn: Turn) -> str:
        return turn.answer if turn.tokens is not None else self.style.answer(turn.answer.strip())

    def _between(self, turn: Turn) -> str:
        ended = len(turn.answer) - len(turn.answer.rstrip("\n")) if turn.tokens is not None else 0
        return SEPARATOR[ended:]


class Session:
    """A model with a cache of batch size 1, kept between answers so that old tokens are not read again."""

    def __init__(self, model: Phi, tokenizer: TextTokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.cache = Cache(model, 1, model.config.block_size)
        self.known: list[int] = []  # the token ids in the cache

    @torch.inference_mode()
    def answer(self, prompt: Sequence[int], options: Options, on_text: OnText) -> Result:
        """Generate the continuation of a prompt, as `generate` does."""
        (text,) = begin(self.model, self.tokenizer, [prompt], options, on_text)
        common = 0  # the last token is always read again, because its logits are needed
        while common < min(len(self.known), len(prompt) - 1) and self.known[common] == prompt[common]:
            common += 1
        self.cache.truncate(common)
        self.known = []  # in case of an interrupt
        ends = self.cache.extend(prompt[common:])[-1:]
        (_,) = write(self.cache, ends, [text], self.cache.step)
        self.known = [*prompt, *text.tokens][: self.cache.lengths[0]]
        return text.result()
