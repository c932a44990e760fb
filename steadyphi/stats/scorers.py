"""Scorers for multiple choice: they turn the log-probabilities of the choices into scores.

`logprobs` (items, variants, K) are the summed log-probabilities, in nats, of the choices' continuations. They
are -inf where an item has fewer than K choices. A scorer returns `scores` of the same shape, also with -inf
where there is no choice. `choose` and `probabilities` read the scores of any scorer. The raw scorer has no
function, because its scores are `logprobs`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, softmax

from steadyphi.errors import SteadyPhiError

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]


def choose(scores: Floats) -> Ints:
    """Return the index of the choice with the best score, shape (items, variants).

    Of several choices with the same score, the first is chosen. Raises SteadyPhiError for a score that is NaN
    or +inf, and for an item without choices.
    """
    _check(scores)
    return np.argmax(scores, axis=-1)


def probabilities(scores: Floats) -> Floats:
    """Return the softmax of the scores over each item's choices; 0 where there is no choice.

    For raw scores it is the probability of each choice given that one of them is the answer. Raises
    SteadyPhiError as `choose` does.
    """
    _check(scores)
    shares: Floats = softmax(scores, axis=-1)
    return shares


def of_choice(values: NDArray, chosen: Ints) -> NDArray:
    """Return the values of the chosen choices, (items, variants), from values (items, variants, K).

    chosen: the index of the choice, (items, variants), or (items,) if it is the same in all variants, as for
        the right answer.
    """
    index = np.broadcast_to(chosen if chosen.ndim == 2 else chosen[:, None], values.shape[:2])
    return np.take_along_axis(values, index[:, :, None], axis=2)[:, :, 0]


def ranking(logprobs: Floats, tokens: Ints, scorer: str) -> Floats:
    """Return the scores of the setting `evaluate.scorer`: "raw", otherwise `length_normalized` by tokens."""
    return logprobs if scorer == "raw" else length_normalized(logprobs, tokens)


def length_normalized(logprobs: Floats, lengths: Ints) -> Floats:
    """Return log P(choice) / length, so that long choices are not at a disadvantage.

    The number of tokens of the continuation as length gives the score of GPT-3 (Brown et al. 2020, arXiv
    2005.14165, section 2.4), which depends on the tokenizer. `byte_lengths` gives a score that does not
    (byte-length normalization in Gao 2021, https://blog.eleuther.ai/multiple-choice-normalization). For ASCII
    text it equals `acc_norm` of lm-evaluation-harness, which counts characters.
    lengths: positive where there is a choice. The shape broadcasts to that of `logprobs`.
    Raises SteadyPhiError if the length of a choice is not positive.
    """
    exists = np.isfinite(logprobs)
    lengths = np.broadcast_to(lengths, logprobs.shape)
    if (lengths[exists] <= 0).any():
        item, variant, choice = np.argwhere(exists & (lengths <= 0))[0]
        raise SteadyPhiError(
            f"item {item}, variant {variant}: choice {choice} has no length; leave out empty choices"
        )
    return np.divide(logprobs, lengths, out=np.full(logprobs.shape, -np.inf), where=exists)


def byte_lengths(choices: Sequence[Sequence[str]]) -> Ints:
    """Return the lengths in UTF-8 bytes of the choices, shape (items, 1, K), 0 where there is no choice.

    Only the text of the choice counts. A space before the answer belongs to the variant and is not counted.
    """
    widest = max(len(texts) for texts in choices)
    rows = [[len(text.encode()) for text in texts] + [0] * (widest - len(texts)) for texts in choices]
    return np.array(rows, dtype=np.int_)[:, None, :]


def contextual(logprobs: Floats, free: Floats) -> Floats:
    """Return log P(choice | prompt) - log P(choice | the prompt without content).

    free: log-probabilities of the same choices after the same prompts with a content-free input, such as
    "N/A", in place of the question; shape (items or 1, variants, K).
    If all items share their choices (yes and no) and `free` has one row, this is contextual calibration
    (Zhao et al. 2021, arXiv 2102.09690): the answer is the argmax of W p with W = diag(p_cf)^-1. Their
    normalization of p and p_cf over the labels adds the same constant to all scores of an item, so it is left
    out. Their softmax of W p is left out too, because it keeps the argmax; `probabilities` returns the
    normalized W p.
    If the choices differ by item and `free` has one row per item, this is the domain-conditional pointwise
    mutual information PMI_DC (Holtzman et al. 2021, arXiv 2104.08315).
    """
    exists = np.isfinite(logprobs)
    free = np.broadcast_to(free, logprobs.shape)
    return np.subtract(logprobs, free, out=np.full(logprobs.shape, -np.inf), where=exists)


def batch_calibrated(logprobs: Floats, classes: Ints | None = None) -> Floats:
    """Return log p(choice) minus the log of the mean p of the same class over all items, per variant.

    This is batch calibration (Zhou et al. 2023, arXiv 2309.17249): the answer is the argmax of p / p_mean,
    where p is normalized over the choices of the item, and p_mean, the bias of a prompt towards a class, is
    the mean of p over the unlabelled items themselves. There should be many items, with right answers that
    are balanced over the classes. A single item equals its own mean, so all its scores are 0.
    classes: the class of each choice, in a shape that broadcasts to (items, variants, K), with any number
        where there is no choice. By default it is the index of the choice, which is meaningful only if all
        items share their choices. If the choices differ by item, give the position at which each is shown
        (its label). If they are not shown, there are no classes and batch calibration does not apply.
    Raises SteadyPhiError as `choose` does.
    """
    _check(logprobs)
    exists = np.isfinite(logprobs)
    labels = np.broadcast_to(np.arange(logprobs.shape[2]) if classes is None else classes, logprobs.shape)
    scores: Floats = log_softmax(logprobs, axis=-1)
    for label in np.unique(labels[exists]):
        same = exists & (labels == label)
        for variant in np.flatnonzero(same.any(axis=(0, 2))):
            members = same[:, variant]
            logs = scores[:, variant][members]
            scores[:, variant][members] = logs - (logsumexp(logs) - np.log(logs.size))
    return scores


def averaged(logprobs: Floats, panel: Floats) -> Floats:
    """Return log p(choice) averaged over a variant and the members of its panel, (items, variants, K).

    Each log p is normalized over the choices of the item. This is the geometric mean of the distributions,
    up to a constant per item.
    panel: (items, variants, members, K), the log-probabilities of the same choices in each member.
    Raises SteadyPhiError as `choose` does.
    """
    _check(logprobs)
    members = np.concatenate([logprobs[:, :, None], panel], axis=2)
    exists = np.isfinite(logprobs)
    shares = np.where(exists[:, :, None], log_softmax(members, axis=-1), 0.0)
    scores: Floats = np.where(exists, shares.mean(axis=2), -np.inf)
    return scores


def any_beginning(logprobs: Floats) -> Floats:
    """Return log of the summed probability of a choice over the ways in which an answer may begin.

    The same words may follow a prompt at once, after a space or after a newline, and these are different
    tokens. A format fixes one of them; the sum takes the model's answer however it begins. It is the
    surface-form marginalization of Holtzman et al. 2021 (arXiv 2104.08315), over white space only.
    logprobs: (ways, ...), the log-probabilities of the choices in each way; the result has the shape (...).
    """
    total: Floats = logsumexp(logprobs, axis=0)
    return total


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
        raise SteadyPhiError(
            f"item {item}, variant {variant}: no choice has a score; give every item at least one choice"
        )
