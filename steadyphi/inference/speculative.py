"""Speculative decoding: a small model drafts tokens, and the large model checks them in one forward pass.

Leviathan et al. 2022, arXiv 2211.17192: a drafted token x is kept with probability min(1, p(x)/q(x)), and
otherwise replaced by one drawn from max(p - q, 0), normalized. The tokens then have exactly the distribution
p of the large model. In greedy decoding p and q each have one token with probability 1, so the text is that
of the large model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.cache import Cache
from steadyphi.inference.generate import GenerationState, OnText, Options, Result, begin
from steadyphi.inference.sampling import Sampling, draw, uniform
from steadyphi.inference.text import Vocabulary
from steadyphi.model import Phi

DRAFTED = 4  # tokens per round; with more, most rounds discard some


@dataclass
class Counts:
    """The number of drafted tokens, and how many of them were kept."""

    drafted: int = 0
    kept: int = 0


@torch.inference_mode()
def speculate(
    model: Phi,
    draft: Phi,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    options: Options,
    on_text: OnText | None = None,
    drafted: int = DRAFTED,
) -> tuple[Result, Counts]:
    """Generate a continuation as `generate` does, with a draft model of the same tokenizer.

    drafted: the most tokens that are drafted per round.
    Returns the result, and the counts of drafted and kept tokens.
    Raises SteadyPhiError if the draft model has a smaller context or vocabulary than the model.
    """
    config = draft.config
    if config.block_size < model.config.block_size or config.padded_vocab_size < vocabulary.size:
        raise SteadyPhiError("the draft model has a smaller context or vocabulary than the model")
    (text,) = begin(model, vocabulary, [prompt], options, on_text)
    capacity = len(prompt) + text.limit
    caches = Cache(model, 1, capacity), Cache(draft, 1, capacity)
    counts = Counts()
    tokens = list(prompt)
    while text.reason is None:
        ahead = min(drafted, text.limit - len(text.tokens) - 1)
        for token in one_round(*caches, tokens, text, ahead, counts):
            tokens.append(token)
            text.push(token)
            if text.reason:
                break
    return text.result(), counts


def one_round(
    cache: Cache, draft: Cache, tokens: Sequence[int], text: GenerationState, ahead: int, counts: Counts
) -> list[int]:
    """Return the next tokens, from 1 to `ahead` + 1. The caches then hold all of them but the last."""
    sampling, size, generator = text.options.sampling, text.vocabulary.size, text.generator
    guesses: list[int] = []
    draft_probs: list[Tensor] = []  # the distribution of each guess
    for _ in range(ahead):
        new = [*tokens, *guesses][draft.lengths[0] :]
        logits = draft.model.lm_head(draft.extend(new)[-1:])[:, :size]
        q = sampling.probabilities(logits, seen_after(text.seen, guesses))
        draft_probs.append(q[0])
        guesses.append(int(draw(q, torch.tensor([uniform(generator)], dtype=torch.float64))))
    new = [*tokens, *guesses][cache.lengths[0] :]
    logits = cache.model.lm_head(cache.extend(new)[-ahead - 1 :])[:, :size]
    if logits.isnan().any():
        raise SteadyPhiError("the logits are NaN; the model's weights are broken")
    model_probs = targets(logits, sampling, text.seen, guesses)
    kept, last = accept(model_probs, draft_probs, guesses, generator)
    counts.drafted, counts.kept = counts.drafted + ahead, counts.kept + kept
    for each in (cache, draft):
        each.truncate(len(tokens) + kept)
    return [*guesses[:kept], last]


def targets(logits: Tensor, sampling: Sampling, seen: Tensor | None, guesses: Sequence[int]) -> Tensor:
    """Return the model's distribution of each guessed token and of the next, after the guesses before it."""
    if seen is None:
        return sampling.probabilities(logits)
    rows = [seen_after(seen, guesses[:count]) for count in range(len(guesses) + 1)]
    return sampling.probabilities(logits, torch.cat([row for row in rows if row is not None]))


def seen_after(seen: Tensor | None, guesses: Sequence[int]) -> Tensor | None:
    """Return `seen` with the guesses added, (1, vocab); None if there is no repetition penalty."""
    if seen is None:
        return None
    row = seen[None].clone()
    row[0, list(guesses)] = True
    return row


def accept(
    model_probs: Tensor, draft_probs: Sequence[Tensor], guesses: Sequence[int], generator: torch.Generator
) -> tuple[int, int]:
    """Return the number of accepted guesses, and the token after them.

    model_probs: (len(guesses) + 1, vocab), the distributions of the model. draft_probs: those of the draft.
    """
    for index, (token, q) in enumerate(zip(guesses, draft_probs, strict=True)):
        p = model_probs[index]
        if uniform(generator) * float(q[token]) < float(p[token]):
            continue
        rest = (p - q.to(p.device)).clamp_(min=0)
        # Rounding can leave nothing if the distributions are equal.
        rest = rest if rest.sum() > 0 else p
        return index, int(draw(rest[None], torch.tensor([uniform(generator)], dtype=torch.float64)))
    return len(guesses), int(draw(model_probs[-1:], torch.tensor([uniform(generator)], dtype=torch.float64)))
