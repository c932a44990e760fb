"""From logits to the next token: greedy, or drawn from a distribution that is cut and flattened as asked.

The order is that of transformers: repetition penalty, temperature, top-k, top-p, min-p.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; what is left as it is here changes nothing.

    temperature: divides the logits; 0 takes the likeliest token always (greedy).
    top_k: only the k likeliest tokens; 0 for all.
    top_p: only the likeliest that together have this probability (Holtzman et al. 2019, arXiv 1904.09751).
    min_p: only those with this share of the likeliest one's probability (Nguyen et al. 2024, arXiv
    2407.01082).
    repetition_penalty: divides the logits above zero of all tokens that stand in the prompt or the text so
    far, and multiplies those below (Keskar et al. 2019, arXiv 1909.05858).
    seed: the same for the same prompt gives the same text, whatever else is in the batch.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, good, wanted in (
            ("temperature", 0 <= self.temperature < float("inf"), "zero or more"),
            ("top_k", self.top_k >= 0, "zero or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0"),
        ):
            if not good:
                raise SteadyPhiError(f"{name}: {getattr(self, name)} is not {wanted}")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken always."""
        return self.temperature == 0

    def penalized(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        """Return logits (rows, vocab) with the penalty on the tokens that are true in seen (rows, vocab)."""
        if seen is None or self.repetition_penalty == 1:
            return logits
        p = self.repetition_penalty
        return torch.where(seen, torch.where(logits < 0, logits * p, logits / p), logits)

    def filtered(self, logits: Tensor) -> Tensor:
        """Return logits (rows, vocab) over the temperature, -inf for tokens that may not be drawn."""
        logits = logits / self.temperature
        if 0 < self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p < 1:
            ascending, order = logits.sort()
            out = ascending.softmax(-1).cumsum(-1) <= 1 - self.top_p
            out[:, -1] = False  # one stays, however small top_p is
            logits = logits.masked_fill(out.scatter(1, order, out), -torch.inf)
        if self.min_p > 0:
            probabilities = logits.softmax(-1)
            least = self.min_p * probabilities.amax(-1, keepdim=True)
            logits = logits.masked_fill(probabilities < least, -torch.inf)
        return logits

    def probabilities(self, logits: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return the distribution (rows, vocab) that tokens are drawn from; greedy: all on one token."""
        logits = self.penalized(logits.float(), seen)
        if self.greedy:
            return torch.zeros_like(logits).scatter_(1, logits.argmax(-1, keepdim=True), 1.0)
        return self.filtered(logits).softmax(-1)

    def choose(
        self, logits: Tensor, generators: Sequence[torch.Generator], seen: Tensor | None = None
    ) -> list[int]:
        """Return a token for each row of logits (rows, vocab), drawn with the row's own generator."""
        if self.greedy:
            return list(self.penalized(logits.float(), seen).argmax(-1).tolist())
        return draw(
            self.probabilities(logits, seen),
            torch.tensor([uniform(g) for g in generators], dtype=torch.float64),
        ).tolist()


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Return the token (rows,) at which each row's cumulated probabilities pass its number from [0, 1).

    One number a row, so that what is drawn depends on nothing else in the batch.
    """
    cumulated = probabilities.double().cumsum(-1)
    target = uniforms.to(cumulated.device)[:, None] * cumulated[:, -1:]
    return torch.searchsorted(cumulated, target, right=True)[:, 0].clamp_(max=probabilities.shape[-1] - 1)


def uniform(generator: torch.Generator) -> float:
    """Return a number from [0, 1) in double precision."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def generator_for(seed: int, prompt: Sequence[int], occurrence: int) -> torch.Generator:
    """Return the generator of a prompt that stood `occurrence` times before in its batch.

    It hangs on the prompt and not on its place, so the same prompt alone gives the same text.
    """
    digest = hashlib.sha256(f"{seed} {occurrence} {list(prompt)}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
