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
    """The turns so far and the prompt style in which the model reads them.

    system: the system text, which the style places before the first turn.
    """

    tokenizer: TextTokenizer
    style: Format = field(default_factory=lambda: FORMATS[DEFAULT])
    turns: list[Turn] = field(default_factory=list)
    system: str = ""

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
        alone = self._prompt(question, first=True)
        if len(alone) >= context:
            raise SteadyPhiError(f"the message is {len(alone)} tokens long, the model's context is {context}")
        dropped = 0
        while len(tokens := self._joined(question, dropped)) + answer > context and dropped < len(self.turns):
            dropped += 1
        del self.turns[:dropped]
        return tokens, dropped

    def add(self, question: str, answer: str, tokens: list[int] | None) -> None:
        """Add a turn to the history. `tokens` are discarded if they do not decode to exactly the answer."""
        if tokens is not None and self.tokenizer.decode(tokens) != answer:
            tokens = None
        self.turns.append(Turn(question, answer, tokens))

    def text(self) -> str:
        """Return the prompt text of the conversation."""
        turns = [
            self.style.prompt(turn.question) + self._answer(turn) + self._between(turn) for turn in self.turns
        ]
        return self.style.opening(self.system) + "".join(turns)

    def _joined(self, question: str, dropped: int) -> list[int]:
        """Return the tokens of the turns from `dropped` on, and of a new question."""
        turns = self.turns[dropped:]
        tokens = [token for turn in turns for token in self._tokens(turn, turn is turns[0])]
        return [*tokens, *self._prompt(question, first=not turns)]

    def _tokens(self, turn: Turn, first: bool) -> list[int]:
        """Tokenize the prompt, the answer and the separator separately, as during generation."""
        answer = self.tokenizer.encode(self._answer(turn)) if turn.tokens is None else turn.tokens
        prompt = self._prompt(turn.question, first)
        return [*prompt, *answer, *self.tokenizer.encode(self._between(turn))]

    def _prompt(self, question: str, first: bool) -> list[int]:
        return self.tokenizer.encode(self.style.prompt(question, self.system if first else ""))

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
