"""From the log-probabilities of the choices to an answer: the usual scorers of multiple choice.

The arrays: `logprobs` (items, variants, K), the summed log-probability in nats of each choice's
continuation, -inf where an item has fewer than K choices. A scorer returns `scores` of the same shape, again
-inf where there is no choice; `choose` and `probabilities` read any of them. The raw scorer is no function:
its scores are `logprobs`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from steadyphi.errors import SteadyPhiError

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]


def choose(scores: Floats) -> Ints:
    """Return the index of the choice with the best score, shape (items, variants).

    Of choices with the same score the first one is taken. Raises SteadyPhiError for a score that is NaN or
    +inf, and for an item without any choice.
    """
    _check(scores)
    return np.argmax(scores, axis=-1)


def probabilities(scores: Floats) -> Floats:
    """Return the softmax of the scores over each item's choices; 0 where there is no choice.

    Of raw scores it is the probability of each choice given that one of them is the answer. Raises
    SteadyPhiError as `choose` does.
    """
    _check(scores)
    shares: Floats = softmax(scores, axis=-1)
    return shares


def of_choice(values: NDArray, chosen: Ints) -> NDArray:
    """Return (items, variants) values of the choice given by index, from values (items, variants, K).

    chosen: (items, variants), or (items,) for the same index in every variant, as the right answer is.
    """
    index = np.broadcast_to(chosen if chosen.ndim == 2 else chosen[:, None], values.shape[:2])
    return np.take_along_axis(values, index[:, :, None], axis=2)[:, :, 0]


def ranking(logprobs: Floats, tokens: Ints, scorer: str) -> Floats:
    """Return the scores that `evaluate.scorer` asks for: "raw", or else by tokens, as `length_normalized`."""
    return logprobs if scorer == "raw" else length_normalized(logprobs, tokens)


def length_normalized(logprobs: Floats, lengths: Ints) -> Floats:
    """Return log P(choice) / length: long choices are no longer less likely for being long.

    lengths: positive where there is a choice; its shape broadcasts to that of `logprobs`. Tokens of the
    continuation give the score of GPT-3 (Brown et al. 2020, arXiv 2005.14165, section 2.4), which depends
    on the tokenizer; `byte_lengths` gives one that does not (byte-length normalization in Gao 2021,
    https://blog.eleuther.ai/multiple-choice-normalization). For ASCII text the latter is `acc_norm` of
    lm-evaluation-harness, which counts characters.
    Raises SteadyPhiError where the length of a choice is not positive.
    """
    there = np.isfinite(logprobs)
    lengths = np.broadcast_to(lengths, logprobs.shape)
    if (lengths[there] <= 0).any():
        item, variant, choice = np.argwhere(there & (lengths <= 0))[0]
        raise SteadyPhiError(
            f"item {item}, variant {variant}: choice {choice} has no length; leave out empty choices"
        )
    return np.divide(logprobs, lengths, out=np.full(logprobs.shape, -np.inf), where=there)


def byte_lengths(choices: Sequence[Sequence[str]]) -> Ints:
    """Return the length in UTF-8 bytes of each item's choices, shape (items, 1, K), 0 where none is.

    Of the choice's own text: a space that leads into the answer belongs to the variant and is not counted.
    """
    widest = max(len(texts) for texts in choices)
    rows = [[len(text.encode()) for text in texts] + [0] * (widest - len(texts)) for texts in choices]
    return np.array(rows, dtype=np.int_)[:, None, :]


def contextual(logprobs: Floats, free: Floats) -> Floats:
    """Return log P(choice | prompt) - log P(choice | the prompt without content).

    free: log-probabilities of the same choices after the same prompts with a content-free input, such as
    "N/A", in place of the question; shape (items or 1, variants, K).
    Where all items share their choices (yes and no) and `free` has one row, this is contextual calibration
    (Zhao et al. 2021, arXiv 2102.09690): the answer is the argmax of W p with W = diag(p_cf)^-1. Their
    normalization of p and p_cf over the labels shifts all of an item's scores alike, so it is left out,
    and so is their softmax around W p, which keeps the argmax; `probabilities` gives W p itself, normalized.
    Where choices differ by item and `free` has a row for each, it is the domain-conditional pointwise
    mutual information PMI_DC (Holtzman et al. 2021, arXiv 2104.08315).
    """
    there = np.isfinite(logprobs)
    free = np.broadcast_to(free, logprobs.shape)
    return np.subtract(logprobs, free, out=np.full(logprobs.shape, -np.inf), where=there)


def batch_calibrated(logprobs: Floats, classes: Ints | None = None) -> Floats:
    """Return log p(choice) less the mean of log p over all items for the same class, variant by variant.

    Batch calibration (Zhou et al. 2023, arXiv 2309.17249): what a prompt makes likely whatever the
    question is estimated from the unlabelled items themselves and taken off. Implemented in log space: the
    bias is the mean log-probability of a class, and p is normalized over the item's choices.
    classes: what is biased, a number for each choice, in a shape that broadcasts to (items, variants, K),
    any number where there is no choice. By default the choice's index, which means something only where all
    items share their choices. Where choices differ by item give the position at which each is shown (its
    label); where they are not shown there is no class, and batch calibration does not apply.
    The items should be many and their right answers balanced over the classes; a single item is its own
    mean, so that all its scores are 0. Raises SteadyPhiError as `choose` does.
    """
    _check(logprobs)
    there = np.isfinite(logprobs)
    labels = np.broadcast_to(np.arange(logprobs.shape[2]) if classes is None else classes, logprobs.shape)
    scores: Floats = log_softmax(logprobs, axis=-1)
    for label in np.unique(labels[there]):
        same = there & (labels == label)
        for variant in np.flatnonzero(same.any(axis=(0, 2))):
            members = same[:, variant]
            scores[:, variant][members] -= scores[:, variant][members].mean()
    return scores


def _check(scores: Floats) -> None:
    broken = np.argwhere(np.isnan(scores) | (scores == np.inf))
    if len(broken):
        item, variant, choice = broken[0]
        raise SteadyPhiError(
            f"item {item}, variant {variant}: choice {choice} has the score {scores[item, variant, choice]}; "
            "check its log-probabilities"
        )
    empty = np.argwhere(~np.isfinite(scores).any(axis=-1))
    if len(empty):
        item, variant = empty[0]
        raise SteadyPhiError(f"item {item}, variant {variant}: no choice has a score; give it choices")
