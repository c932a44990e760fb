"""A model as evaluation sees it: it scores continuations and generates texts.

Evaluation code uses the protocol `Backend` alone, so that another engine can be evaluated by implementing its
five members. `LanguageModel` is the implementation for Phi.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from steadyphi.inference.generate import Options, generate
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.inference.scoring import Request, score
from steadyphi.model import Phi
from steadyphi.progress import Progress
from steadyphi.runtime import ranks
from steadyphi.tokenizer import TextTokenizer

GENERATED_TOGETHER = 64  # prompts in one batch of generation, and in one entry of the cache


class Generated(NamedTuple):
    """A generated text, its number of tokens, and whether it ended by itself or was cut at the limit."""

    text: str
    tokens: int
    ended: bool = True


class Backend(Protocol):
    """What evaluation needs of a model."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer. Prompts and answers are encoded separately, and scored as token ids."""

    @property
    def context(self) -> int:
        """The longest sequence that the model reads, in tokens."""

    def score(self, requests: Sequence[Request], label: str = "score") -> list[float]:
        """Return the log-probability of each request's continuation, in nats, summed over its tokens.

        label: names the work in the progress line.
        """

    def score_in_small_batches(self, requests: Sequence[Request], label: str) -> list[float]:
        """Return the same scores, computed anew in smaller batches: the difference is rounding alone."""

    def generate(self, prompts: Sequence[str], max_new_tokens: int, label: str) -> list[Generated]:
        """Return the greedy continuation of each prompt, of at most `max_new_tokens` tokens."""


class LanguageModel:
    """A Phi with its tokenizer, its batch size, and a cache of scores and texts.

    batch_tokens: the most tokens that are scored in one forward pass.
    cache: stores scores and texts, so that an interrupted evaluation can continue; None stores nothing.
        A batch is taken from the cache whole or not at all, because rounding depends on the batch.
    """

    def __init__(
        self, model: Phi, tokenizer: TextTokenizer, batch_tokens: int, cache: ScoreCache | None = None
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.batch_tokens, self.cache = batch_tokens, cache

    @property
    def context(self) -> int:
        """The longest sequence that the model reads, in tokens."""
        return self.model.config.block_size

    def score(self, requests: Sequence[Request], label: str = "score") -> list[float]:
        """Return the log-probability of each request's continuation; see `scoring.score`."""
        return score(self.model, requests, self.batch_tokens, label, self.cache)

    def score_in_small_batches(self, requests: Sequence[Request], label: str) -> list[float]:
        """Return the scores, computed anew in batches of an eighth of the size. Nothing is cached."""
        return score(self.model, requests, max(1, self.batch_tokens // 8), label)

    def generate(
        self, prompts: Sequence[str], max_new_tokens: int, label: str, stop: Sequence[str] = ()
    ) -> list[Generated]:
        """Return the greedy continuation of each prompt, of at most `max_new_tokens` tokens.

        stop: strings that end a text, which does not contain them.
        Under torchrun each process generates its share, and all return everything. Raises SteadyPhiError for
        a prompt that fills the model's context.
        """
        encoded = self.tokenizer.encode_batch(list(prompts))
        order = sorted(range(len(encoded)), key=lambda n: (len(encoded[n]), encoded[n]))
        size = GENERATED_TOGETHER
        batches = [order[n : n + size] for n in range(0, len(order), size)]
        share = batches[ranks.rank() :: ranks.world_size()]
        progress = Progress(label, sum(map(len, share)), "texts")
        texts: dict[int, Generated] = {}
        for batch in share:
            generated = self._generate([encoded[n] for n in batch], max_new_tokens, stop, progress)
            texts.update(zip(batch, generated, strict=True))
        progress.close()
        for rank_texts in ranks.gather(texts):
            texts |= rank_texts
        return [texts[n] for n in range(len(prompts))]

    def _generate(
        self, prompts: Sequence[list[int]], max_new_tokens: int, stop: Sequence[str], progress: Progress
    ) -> list[Generated]:
        """Return the texts of one batch of prompts, from the cache if it has them."""
        cached = self.cache.get_texts(prompts, max_new_tokens, stop) if self.cache else None
        if cached is not None:
            progress.skip(len(prompts))
            return [Generated(*text) for text in cached]
        options = Options(max_new_tokens=max_new_tokens, stop=tuple(stop))
        results = generate(self.model, self.tokenizer, prompts, options)
        texts = [Generated(r.text, len(r.tokens), r.reason in ("eos", "stop")) for r in results]
        if self.cache:
            self.cache.put_texts(prompts, max_new_tokens, texts, stop)
        progress.add(len(prompts))
        return texts
