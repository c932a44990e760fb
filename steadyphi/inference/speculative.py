"""Speculative decoding: a small model drafts tokens, the large one checks them all in one pass.

Leviathan et al. 2022, arXiv 2211.17192: a drafted token x is kept with probability min(1, p(x)/q(x)), and
else replaced by one from max(p - q, 0), normalized. What comes out is distributed exactly as the large
model's p; under greedy both are all on one token, and so the text is the large model's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.cache import Cache
from steadyphi.inference.generate import Options, Result, Say, Writing, begin
from steadyphi.inference.sampling import Sampling, draw, uniform
from steadyphi.inference.text import Vocabulary
from steadyphi.model import Phi

DRAFTED = 4  # tokens a round: with more, most rounds throw some away


@dataclass
class Counts:
    """How many tokens were drafted, and how many of them kept."""

    drafted: int = 0
    kept: int = 0


@torch.inference_mode()
def speculate(
    model: Phi,
    draft: Phi,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    options: Options,
    say: Say | None = None,
    drafted: int = DRAFTED,
) -> tuple[Result, Counts]:
    """Write on after a prompt as `generate` does, with another model of the same tokenizer drafting ahead.

    returns: the result, and how good the drafts were.
    Raises SteadyPhiError when a model's context or vocabulary is too small for the other's.
    """
    config = draft.config
    if config.block_size < model.config.block_size or config.padded_vocab_size < vocabulary.size:
        raise SteadyPhiError("the draft model has a smaller context or vocabulary than the model")
    (text,) = begin(model, vocabulary, [prompt], options, say)
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
    cache: Cache, draft: Cache, tokens: Sequence[int], text: Writing, ahead: int, counts: Counts
) -> list[int]:
    """Return the next tokens, from one up to `ahead` + 1; the caches then have all but the last of them."""
    sampling, size, generator = text.options.sampling, text.vocabulary.size, text.generator
    guesses: list[int] = []
    guessed: list[Tensor] = []  # what each was drawn from
    for _ in range(ahead):
        new = [*tokens, *guesses][draft.lengths[0] :]
        logits = draft.model.lm_head(draft.extend(new)[-1:])[:, :size]
        q = sampling.probabilities(logits, seen_after(text.seen, guesses))
        guessed.append(q[0])
        guesses.append(int(draw(q, torch.tensor([uniform(generator)], dtype=torch.float64))))
    new = [*tokens, *guesses][cache.lengths[0] :]
    logits = cache.model.lm_head(cache.extend(new)[-ahead - 1 :])[:, :size]
    if logits.isnan().any():
        raise SteadyPhiError("the model gives no numbers (NaN); its weights are broken")
    wanted = targets(logits, sampling, text.seen, guesses)
    kept, last = accept(wanted, guessed, guesses, generator)
    counts.drafted, counts.kept = counts.drafted + ahead, counts.kept + kept
    for each in (cache, draft):
        each.truncate(len(tokens) + kept)
    return [*guesses[:kept], last]


def targets(logits: Tensor, sampling: Sampling, seen: Tensor | None, guesses: Sequence[int]) -> Tensor:
    """Return the model's distribution at each guess and after the last, as if the guesses stood there."""
    if seen is None:
        return sampling.probabilities(logits)
    rows = [seen_after(seen, guesses[:count]) for count in range(len(guesses) + 1)]
    return sampling.probabilities(logits, torch.cat([row for row in rows if row is not None]))


def seen_after(seen: Tensor | None, guesses: Sequence[int]) -> Tensor | None:
    """Return (1, vocab): which tokens stand in the text when the guesses do."""
    if seen is None:
        return None
    row = seen[None].clone()
    row[0, list(guesses)] = True
    return row


def accept(
    wanted: Tensor, guessed: Sequence[Tensor], guesses: Sequence[int], generator: torch.Generator
) -> tuple[int, int]:
    """Return how many guesses stand, and the token that comes after them.

    wanted: (len(guesses) + 1, vocab), the model's distributions; guessed: the draft's.
    """
    for place, (token, q) in enumerate(zip(guesses, guessed, strict=True)):
        p = wanted[place]
        if uniform(generator) * float(q[token]) < float(p[token]):
            continue
        rest = (p - q.to(p.device)).clamp_(min=0)
        # By rounding alone nothing may be left of two equal distributions.
        rest = rest if rest.sum() > 0 else p
        return place, int(draw(rest[None], torch.tensor([uniform(generator)], dtype=torch.float64)))
    return len(guesses), int(draw(wanted[-1:], torch.tensor([uniform(generator)], dtype=torch.float64)))
