"""What would make every other number of an evaluation idle, each said in one sentence."""

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats import measures

ROUNDING = 1e-3  # nats: sums of float32 log-probabilities agree better than this, other weights do not


def chance_alarm(correct: NDArray[np.bool_], chance: float, confidence: float) -> str | None:
    """Return a sentence if even the best variant of `correct` (items, variants) may be guessing.

    chance: accuracy of choosing blindly. The best of T variants is the luckiest one, so its Wilson interval
    is taken at the confidence 1 - (1 - confidence) / T (Bonferroni).
    """
    shares, variants = correct.mean(axis=0), correct.shape[1]
    best = int(shares.argmax())
    (found,) = measures.accuracy(correct[:, [best]], 1 - (1 - confidence) / variants)
    if found.low > chance:
        return None
    return (
        f"Even the best of {variants} variants, {found.value:.1%} right ({found.low:.1%} to"
        f" {found.high:.1%}), may be guessing ({chance:.1%}): differences between prompts mean nothing here."
    )


def equal_alarm(
    chosen: tuple[NDArray[np.int_], NDArray[np.int_]],
    logprobs: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> str | None:
    """Return a sentence if the tuned model answers as the base does; each pair is (base, tuned).

    chosen: (items, variants). logprobs: (items, variants, choices), -inf where there is no such choice.
    """
    if logprobs is not None and np.allclose(*logprobs, rtol=0, atol=ROUNDING):
        return (
            "The tuned model's log-probabilities are those of the base model: nothing was learnt, or the"
            " tuned weights were not loaded."
        )
    if np.array_equal(*chosen):
        return (
            f"The tuned model chooses as the base model does in all {chosen[0].size} cases: fine-tuning"
            " changed no answer."
        )
    return None
