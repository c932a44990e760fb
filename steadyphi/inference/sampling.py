"""Choose the next token from logits: greedily, or by sampling from a filtered distribution.

The order of the steps is that of transformers: repetition penalty, temperature, top-k, top-p, min-p.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The defaults are greedy, without a penalty or a filter.

    temperature: divides the logits; 0 always takes the most likely token (greedy).
    top_k: sample from the k most likely tokens; 0 means all.
    top_p: sample from the most likely tokens that together have this probability (Holtzman et al. 2019,
    arXiv 1904.09751).
    min_p: sample from the tokens with at least this fraction of the highest probability (Nguyen et al. 2024,
    arXiv 2407.01082).
    repetition_penalty: for all tokens of the prompt and the text so far, divides the logits above zero, and
    multiplies those below (Keskar et al. 2019, arXiv 1909.05858).
    seed: the same seed and prompt give the same text, whatever else is in the batch.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, valid, expected in (
            ("temperature", 0 <= self.temperature < float("inf"), "zero or more"),
            ("top_k", self.top_k >= 0, "zero or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0"),
        ):
            if not valid:
                raise SteadyPhiError(f"{name}: should be {expected}, not {getattr(self, name)}")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0

    def penalized(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        """Return logits (rows, vocab) with the penalty for the tokens that are True in seen (rows, vocab)."""
        if seen is None or self.repetition_penalty == 1:
            return logits
        p = self.repetition_penalty
        return torch.where(seen, torch.where(logits < 0, logits * p, logits / p), logits)

    def filtered(self, logits: Tensor) -> Tensor:
        """Return logits (rows, vocab) divided by the temperature; -inf for tokens that are filtered out."""
        logits = logits / self.temperature
        if 0 < self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p < 1:
            ascending, order = logits.sort()
            excluded = ascending.softmax(-1).cumsum(-1) <= 1 - self.top_p
            excluded[:, -1] = False  # keep one token, however small top_p is
            logits = logits.masked_fill(excluded.scatter(1, order, excluded), -torch.inf)
        if self.min_p > 0:
            probabilities = logits.softmax(-1)
            least = self.min_p * probabilities.amax(-1, keepdim=True)
            logits = logits.masked_fill(probabilities < least, -torch.inf)
        return logits

    def probabilities(self, logits: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return the distribution (rows, vocab) of the next token. If greedy, one token has probability 1."""
        logits = self.penalized(logits.float(), seen)
        if self.greedy:
            return torch.zeros_like(logits).scatter_(1, logits.argmax(-1, keepdim=True), 1.0)
        return self.filtered(logits).softmax(-1)

    def choose(
        self, logits: Tensor, generators: Sequence[torch.Generator], seen: Tensor | None = None
    ) -> list[int]:
        """Return a token for each row of logits (rows, vocab), drawn with the generator of the row."""
        if self.greedy:
            return list(self.penalized(logits.float(), seen).argmax(-1).tolist())
        return draw(
            self.probabilities(logits, seen),
            torch.tensor([uniform(g) for g in generators], dtype=torch.float64),
        ).tolist()


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Return the token (rows,) at which the cumulative probabilities of each row exceed its number.

    uniforms: one number from [0, 1) per row, so that a drawn token depends on nothing else in the batch.
    """
    cumulative = probabilities.double().cumsum(-1)
    target = uniforms.to(cumulative.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp_(max=probabilities.shape[-1] - 1)


def uniform(generator: torch.Generator) -> float:
    """Return a random number from [0, 1), in double precision."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def generator_for(seed: int, prompt: Sequence[int], occurrence: int) -> torch.Generator:
    """Return the random generator of a prompt that occurs `occurrence` times earlier in its batch.

    It depends on the prompt and not on its index, so a prompt gives the same text in any batch.
    """
    digest = hashlib.sha256(f"{seed} {occurrence} {list(prompt)}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
