"""Writing on: prompts of any lengths as one batch, without padding, each as if it were alone."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from steadyphi.data.packing import pack
from steadyphi.errors import SteadyPhiError
from steadyphi.inference.cache import Cache
from steadyphi.inference.compiled import Step, step_for
from steadyphi.inference.sampling import Sampling, generator_for
from steadyphi.inference.text import Detokenizer, Stops, Vocabulary
from steadyphi.model import Phi

Reason = Literal["eos", "stop", "length", "context"]
Say = Callable[[int, str], None]  # which prompt, and the next piece of its text

READ_TOKENS = 4096  # tokens of prompts that are read together
MOST_ROWS = 64  # texts written together, and
CACHE_BYTES = 4 << 30  # at most so much cache for them


@dataclass(frozen=True)
class Options:
    """When to stop, and how to choose: `stop` are strings, of which nothing comes into the text."""

    max_new_tokens: int = 256
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    compiled: bool = False  # steps by torch.compile, on a GPU

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise SteadyPhiError(f"max_new_tokens: {self.max_new_tokens} is not 1 or more")


@dataclass(frozen=True)
class Result:
    """What was written after a prompt of `prompt_tokens`, and why it ended.

    reason: "eos", the model ended it; "stop", a stop string came; "length", max_new_tokens were written;
    "context", the model's context was full before that.
    tokens: without the token that ends a text; of a stop string, at most what shares a token with the text.
    first_seconds, seconds: from the start until the first token, and until the last.
    """

    prompt_tokens: int
    tokens: list[int]
    text: str
    reason: Reason
    first_seconds: float
    seconds: float


@dataclass
class Writing:
    """A text while it is being written."""

    index: int
    prompt: Sequence[int]
    vocabulary: Vocabulary
    options: Options
    limit: int
    generator: torch.Generator
    say: Say | None
    started: float
    reason: Reason | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    seen: Tensor | None = None  # (vocab,): which tokens the repetition penalty is for

    def __post_init__(self) -> None:
        self.detokenizer, self.stops = Detokenizer(self.vocabulary), Stops(self.options.stop)
        self.first_seconds = 0.0
        if self.options.sampling.repetition_penalty != 1:
            self.seen = torch.zeros(self.vocabulary.size, dtype=torch.bool)
            known = [t for t in self.prompt if t < self.vocabulary.size]
            self.seen[torch.tensor(known, dtype=torch.long)] = True

    def push(self, token: int) -> None:
        """Take the next token; `reason` is set when it was the last."""
        self.first_seconds = self.first_seconds or time.perf_counter() - self.started
        if token in self.vocabulary.eos_ids and not self.options.ignore_eos:
            self._finish("eos")
            return
        self.tokens.append(token)
        if self.seen is not None:
            self.seen[token] = True
        self._add(self.stops.push(self.detokenizer.push(token)))
        if self.stops.found is None and len(self.tokens) < self.limit:
            return
        self._finish("length" if self.limit == self.options.max_new_tokens else "context")

    def result(self) -> Result:
        """Return what was written, once it has ended."""
        assert self.reason is not None
        seconds = time.perf_counter() - self.started
        tokens, text = self.tokens, self.text
        return Result(len(self.prompt), tokens, text, self.reason, self.first_seconds, seconds)

    def _finish(self, reason: Reason) -> None:
        self._add(self.stops.push(self.detokenizer.finish()))
        self._add(self.stops.finish())
        self.reason = reason
        if self.stops.found is not None:
            self.reason = "stop"
            while self.tokens and self.vocabulary.decode(self.tokens[:-1]).startswith(self.text):
                self.tokens.pop()

    def _add(self, text: str) -> None:
        self.text += text
        if text and self.say:
            self.say(self.index, text)


def room(prompt: Sequence[int], context: int, max_new_tokens: int, name: str = "the prompt") -> int:
    """Return how many tokens can be written after a prompt; SteadyPhiError when none can."""
    if not prompt:
        raise SteadyPhiError(f"{name}: is empty; the model needs at least one token to go on from")
    if len(prompt) >= context:
        raise SteadyPhiError(
            f"{name}: is {len(prompt)} tokens long, the model's context is {context}: nothing can follow it"
        )
    return min(max_new_tokens, context - len(prompt))


def begin(
    model: Phi, vocabulary: Vocabulary, prompts: Sequence[Sequence[int]], options: Options, say: Say | None
) -> list[Writing]:
    """Return a text to be written for each prompt; SteadyPhiError for one that does not fit."""
    occurrences: Counter[tuple[int, ...]] = Counter()
    texts = []
    for index, prompt in enumerate(prompts):
        name = "the prompt" if len(prompts) == 1 else f"prompt {index + 1}"
        limit = room(prompt, model.config.block_size, options.max_new_tokens, name)
        generator = generator_for(options.sampling.seed, prompt, occurrences[tuple(prompt)])
        occurrences[tuple(prompt)] += 1
        now = time.perf_counter()
        texts.append(Writing(index, prompt, vocabulary, options, limit, generator, say, now))
    return texts


@torch.inference_mode()
def generate(
    model: Phi,
    vocabulary: Vocabulary,
    prompts: Sequence[Sequence[int]],
    options: Options = Options(),
    say: Say | None = None,
) -> list[Result]:
    """Write on after each prompt (token ids) and return the results in the prompts' order.

    Prompts are read packed, and then every text attends to its own tokens alone; one that has ended
    leaves the batch. Raises SteadyPhiError for a prompt that is empty or fills the model's context.
    """
    texts = begin(model, vocabulary, prompts, options, say)
    results: dict[int, Result] = {}
    for batch in batches(model, texts):
        capacity = max(len(text.prompt) + text.limit for text in batch)
        cache = Cache(model, len(batch), capacity)
        lengths = [len(text.prompt) for text in batch]
        first, ends = 0, []
        for group in pack(lengths, READ_TOKENS, range(len(batch))):
            ends.append(cache.read([batch[i].prompt for i in group], first))
            first += len(group)
        for text in write(cache, torch.cat(ends), batch, step_for(cache, options.compiled)):
            results[text.index] = text.result()
    return [results[index] for index in range(len(prompts))]


def write(cache: Cache, ends: Tensor, texts: Sequence[Writing], step: Step) -> Iterator[Writing]:
    """Write all texts on and yield each when it has ended.

    cache: has the prompts, in the texts' order; ends: the hidden states (rows, n_embd) of their last tokens;
    step: reads a token in every row, as `cache.step`.
    """
    rows = list(texts)
    logits = cache.model.lm_head(ends)[:, : rows[0].vocabulary.size]
    if logits.isnan().any():
        raise SteadyPhiError("the model gives no numbers (NaN); its weights are broken")
    while True:
        seen = torch.stack([r.seen for r in rows if r.seen is not None]) if rows[0].seen is not None else None
        seen = None if seen is None else seen.to(logits.device)
        sampling = rows[0].options.sampling
        tokens = sampling.choose(logits, [row.generator for row in rows], seen)
        for row, token in zip(rows, tokens, strict=True):
            row.push(token)
        ended = [place for place, row in enumerate(rows) if row.reason]
        yield from (rows[place] for place in ended)
        if len(ended) == len(rows):
            return  # and leave the last rows in the cache: a chat goes on from them
        if ended:
            order = cache.drop(ended)
            rows, tokens = [rows[place] for place in order], [tokens[place] for place in order]
        logits = cache.model.lm_head(step(tokens))[:, : rows[0].vocabulary.size]


def batches(model: Phi, texts: Sequence[Writing]) -> Iterator[list[Writing]]:
    """Divide texts, longest first, into batches whose cache stays within `CACHE_BYTES`."""
    config = model.config
    each = 2 * 4 * config.n_layer * config.n_embd  # bytes a token at most: key and value, float32
    batch: list[Writing] = []
    capacity = 0
    # Neighbours in length attend in one call.
    for text in sorted(texts, key=lambda text: -len(text.prompt)):
        wanted = max(capacity, len(text.prompt) + text.limit)
        if batch and (len(batch) == MOST_ROWS or (len(batch) + 1) * wanted * each > CACHE_BYTES):
            yield batch
            batch, wanted = [], len(text.prompt) + text.limit
        batch.append(text)
        capacity = wanted
    if batch:
        yield batch
