"""Alarms: a sentence for each condition that makes the other numbers of an evaluation meaningless."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.interval import accuracy

ROUNDING = 1e-3  # nats: sums of float32 log-probabilities of equal weights differ by less than this


def chance_alarm(
    correct: NDArray[np.bool_], chance: float, confidence: float, family: str = ""
) -> str | None:
    """Return a sentence if even the best variant of `correct` (items, variants) may be guessing.

    family: what the variants are, if they are not the formats. chance: the accuracy of random guessing. The
    best of T variants is selected, so its accuracy is biased upwards; its Wilson interval therefore has the
    confidence 1 - (1 - confidence) / T (Bonferroni).
    """
    shares, variants = correct.mean(axis=0), correct.shape[1]
    best = int(shares.argmax())
    (interval,) = accuracy(correct[:, [best]], 1 - (1 - confidence) / variants)
    if interval.low > chance:
        return None
    of = ("variant" if variants == 1 else "variants") + (f" ({family})" if family else "")
    return (
        f"Even the best of {variants} {of}, {interval.value:.1%} right ({interval.low:.1%} to"
        f" {interval.high:.1%}), may be guessing ({chance:.1%}): differences between prompts mean nothing"
        " here."
    )


def options_alarm(guessed: Sequence[str], styles: int) -> str:
    """Return a sentence on the styles of listing options, of `styles`, in which the model may be guessing."""
    named = ", ".join(guessed[:3]) + (", …" if len(guessed) > 3 else "")
    return (
        f"The model may be guessing in {len(guessed)} of {styles} styles of listing the options ({named}): "
        "differences between these mean nothing."
    )


def noise_alarm(p_value: float, confidence: float) -> str | None:
    """Return a sentence if the permutation test does not show that the formats differ."""
    if p_value < 1 - confidence:
        return None
    return (
        f"These questions do not show that the formats differ (p = {p_value:.2f}): the spread, and which "
        "format is best or worst, may be chance."
    )


def rounding_alarm(flips: float, rounding: float) -> str | None:
    """Return a sentence if rounding explains half of the flip rate or more.

    flips: the share of answers that differ between two formats. rounding: the share that change in other
    batches.
    """
    if rounding == 0 or flips > 2 * rounding:
        return None
    return (
        f"Two formats disagree on {flips:.1%} of the questions, and rounding alone changes {rounding:.1%}: "
        "the flips may be rounding."
    )


def equal_alarm(
    chosen: tuple[NDArray[np.int_], NDArray[np.int_]],
    logprobs: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> str | None:
    """Return a sentence if the tuned model gives the same answers as the base. Each pair is (base, tuned).

    chosen: (items, variants). logprobs: (items, variants, choices), -inf where an item has no such choice.
    """
    if logprobs is not None and np.allclose(*logprobs, rtol=0, atol=ROUNDING):
        return (
            "The tuned model's log-probabilities equal the base model's: training changed nothing, or the"
            " tuned weights were not loaded."
        )
    if np.array_equal(*chosen):
        return (
            f"The tuned model's answers equal the base model's in all {chosen[0].size} cases: fine-tuning"
            " changed no answer."
        )
    return None
