"""Text generation: prompts of any lengths in one batch, without padding, each as if it were the only one."""

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
from steadyphi.inference.compiled import FixedStep, Step, can_compile, fixed_cache
from steadyphi.inference.sampling import Sampling, generator_for
from steadyphi.inference.text import Detokenizer, Stops, Vocabulary
from steadyphi.model import Phi

Reason = Literal["eos", "stop", "length", "context"]
OnText = Callable[[int, str], None]  # called with the index of the prompt and the next piece of its text

READ_TOKENS = 4096  # the most prompt tokens in one forward pass
MOST_ROWS = 64  # the most texts in one batch
CACHE_BYTES = 4 << 30  # the largest cache of a batch


@dataclass(frozen=True)
class Options:
    """When generation stops, and how tokens are chosen.

    stop: strings that end the text. The text does not contain them.
    ignore_eos: do not stop at an end token.
    compiled: use torch.compile, on a GPU.
    """

    max_new_tokens: int = 256
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise SteadyPhiError(f"max_new_tokens: should be 1 or more, not {self.max_new_tokens}")


@dataclass(frozen=True)
class Result:
    """The text generated after a prompt, and why it ended.

    prompt_tokens: number of tokens of the prompt.
    tokens: without the end token. Of a stop string, at most the part that shares a token with the text.
    reason: "eos", the model ended the text; "stop", a stop string occurred; "length", max_new_tokens were
    generated; "context", the model's context was full before that.
    first_seconds, seconds: from the start to the first token, and to the last.
    """

    prompt_tokens: int
    tokens: list[int]
    text: str
    reason: Reason
    first_seconds: float
    seconds: float


@dataclass
class GenerationState:
    """The state of a text during generation.

    index: of the prompt. limit: the most tokens to generate.
    """

    index: int
    prompt: Sequence[int]
    vocabulary: Vocabulary
    options: Options
    limit: int
    generator: torch.Generator
    on_text: OnText | None
    started: float
    reason: Reason | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    seen: Tensor | None = None  # (vocab,): the tokens that the repetition penalty applies to

    def __post_init__(self) -> None:
        self.detokenizer, self.stops = Detokenizer(self.vocabulary), Stops(self.options.stop)
        self.first_seconds = 0.0
        if self.options.sampling.repetition_penalty != 1:
            self.seen = torch.zeros(self.vocabulary.size, dtype=torch.bool)
            ids = [t for t in self.prompt if t < self.vocabulary.size]
            self.seen[torch.tensor(ids, dtype=torch.long)] = True

    def push(self, token: int) -> None:
        """Add the next token; set `reason` if it is the last."""
        self.first_seconds = self.first_seconds or time.perf_counter() - self.started
        if token in self.vocabulary.eos_ids and not self.options.ignore_eos:
            self._finish("eos")
            return
        self.tokens.append(token)
        if self.seen is not None:
            self.seen[token] = True
        self._add(self.stops.push(self.detokenizer.push(token)))
        if self.stops.reached is None and len(self.tokens) < self.limit:
            return
        self._finish("length" if self.limit == self.options.max_new_tokens else "context")

    def result(self) -> Result:
        """Return the result of a finished text."""
        assert self.reason is not None
        seconds = time.perf_counter() - self.started
        tokens, text = self.tokens, self.text
        return Result(len(self.prompt), tokens, text, self.reason, self.first_seconds, seconds)

    def _finish(self, reason: Reason) -> None:
        self._add(self.stops.push(self.detokenizer.finish()))
        self._add(self.stops.finish())
        self.reason = reason
        if self.stops.reached is not None:
            self.reason = "stop"
            while self.tokens and self.vocabulary.decode(self.tokens[:-1]).startswith(self.text):
                self.tokens.pop()

    def _add(self, text: str) -> None:
        self.text += text
        if text and self.on_text:
            self.on_text(self.index, text)


def max_continuation(
    prompt: Sequence[int], context: int, max_new_tokens: int, name: str = "the prompt"
) -> int:
    """Return the number of tokens that may be generated after a prompt: at most `max_new_tokens`.

    name: of the prompt, for the error. Raises SteadyPhiError if the prompt is empty or fills the context.
    """
    if not prompt:
        raise SteadyPhiError(f"{name}: is empty; the model needs at least one token to continue")
    if len(prompt) >= context:
        raise SteadyPhiError(
            f"{name}: is {len(prompt)} tokens long and fills the model's context of {context}; shorten it"
        )
    return min(max_new_tokens, context - len(prompt))


def begin(
    model: Phi,
    vocabulary: Vocabulary,
    prompts: Sequence[Sequence[int]],
    options: Options,
    on_text: OnText | None,
) -> list[GenerationState]:
    """Return the initial state of the text for each prompt.

    on_text: called with each new piece of text. Raises SteadyPhiError for a prompt that is empty or fills the
    model's context.
    """
    occurrences: Counter[tuple[int, ...]] = Counter()
    texts = []
    for index, prompt in enumerate(prompts):
        name = "the prompt" if len(prompts) == 1 else f"prompt {index + 1}"
        limit = max_continuation(prompt, model.config.block_size, options.max_new_tokens, name)
        generator = generator_for(options.sampling.seed, prompt, occurrences[tuple(prompt)])
        occurrences[tuple(prompt)] += 1
        now = time.perf_counter()
        texts.append(GenerationState(index, prompt, vocabulary, options, limit, generator, on_text, now))
    return texts


@torch.inference_mode()
def generate(
    model: Phi,
    vocabulary: Vocabulary,
    prompts: Sequence[Sequence[int]],
    options: Options = Options(),
    on_text: OnText | None = None,
) -> list[Result]:
    """Generate a continuation of each prompt (token ids); return the results in the order of the prompts.

    The prompts are read packed. After that each text attends to its own tokens only, and a finished text
    leaves the batch.
    on_text: called with each new piece of text.
    Raises SteadyPhiError for a prompt that is empty or fills the model's context.
    """
    texts = begin(model, vocabulary, prompts, options, on_text)
    results: dict[int, Result] = {}
    compiled = options.compiled and can_compile(model.device)
    for batch in batches(model, texts):
        capacity = max(len(text.prompt) + text.limit for text in batch)
        cache = (fixed_cache if compiled else Cache)(model, len(batch), capacity)
        lengths = [len(text.prompt) for text in batch]
        first, ends = 0, []
        for group in pack(lengths, READ_TOKENS, range(len(batch))):
            ends.append(cache.read([batch[i].prompt for i in group], first))
            first += len(group)
        step = FixedStep(cache, mode="reduce-overhead") if compiled else cache.step
        for text in write(cache, torch.cat(ends), batch, step):
            results[text.index] = text.result()
    return [results[index] for index in range(len(prompts))]


def write(
    cache: Cache, ends: Tensor, texts: Sequence[GenerationState], step: Step
) -> Iterator[GenerationState]:
    """Generate all texts, and yield each one when it is finished.

    cache: holds the prompts, in the order of the texts.
    ends: the hidden states (rows, n_embd) of the last tokens of the prompts.
    step: reads one more token into every row, such as `cache.step`.
    """
    rows = list(texts)
    logits = cache.model.lm_head(ends)[:, : rows[0].vocabulary.size]
    if logits.isnan().any():
        raise SteadyPhiError("the logits are NaN; the model's weights are broken")
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
            return  # the last rows stay in the cache, because a chat continues from them
        if ended:
            order = cache.drop(ended)
            rows, tokens = [rows[place] for place in order], [tokens[place] for place in order]
        logits = cache.model.lm_head(step(tokens))[:, : rows[0].vocabulary.size]


def batches(model: Phi, texts: Sequence[GenerationState]) -> Iterator[list[GenerationState]]:
    """Divide texts, longest prompt first, into batches of at most `MOST_ROWS` texts and `CACHE_BYTES`."""
    config = model.config
    token_bytes = 2 * 4 * config.n_layer * config.n_embd  # at most, for a key and a value in float32
    batch: list[GenerationState] = []
    capacity = 0
    # Sorted, because rows of similar length attend in one call.
    for text in sorted(texts, key=lambda text: -len(text.prompt)):
        needed = max(capacity, len(text.prompt) + text.limit)
        if batch and (len(batch) == MOST_ROWS or (len(batch) + 1) * needed * token_bytes > CACHE_BYTES):
            yield batch
            batch, needed = [], len(text.prompt) + text.limit
        batch.append(text)
        capacity = needed
    if batch:
        yield batch
