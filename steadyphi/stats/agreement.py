"""Measures of how much the probabilities of the answers depend on the prompt.

`probabilities` are arrays (items, variants, K) that sum to 1 over each item's choices and are 0 where an item
has fewer than K choices. They come from `scorers.probabilities`, or from `one_hot` for the answers alone.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from steadyphi.stats.measures import mean_gap

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]


def one_hot(chosen: Ints, width: int) -> Floats:
    """Return answers (items, variants) as one-hot distributions (items, variants, width)."""
    return np.eye(width)[chosen]


def posix(logprobs: Floats, tokens: Ints, chosen: Ints) -> Floats:
    """Return POSIX for each item, (items,): how far the prompt moves a log-probability, in nats per token.

    psi = 1/(T (T-1)) sum_i sum_{j != i} 1/L_j |log P(y_j | x_i) - log P(y_j | x_j)|, where y_j is the
    answer chosen under variant j and L_j its number of tokens there (Chatterjee et al. 2024, arXiv
    2410.02185, eq. 1; the paper's index is the mean over the items). Here P(y_j | x_i) is the probability
    of the same choice in the wording of variant i, with that variant's space or label.
    logprobs: (items, variants, K), in nats, summed over tokens. tokens: the number of tokens of each choice,
    in the same shape. chosen: (items, variants). POSIX has no upper bound; it is 0 if all variants give each
    answer the same probability.
    The paper's own package (prompt-sensitivity-index 0.0.1) computes a different number: it fixes the prompt
    and swaps the answer, |log P(y_i | x_j) - log P(y_j | x_j)|, and divides by the maximum number of tokens.
    """
    variants = chosen.shape[1]
    total = np.zeros(len(chosen))
    if variants < 2:
        return total
    for j in range(variants):
        answer = chosen[:, j]
        rows = np.arange(len(chosen))
        under_all = np.take_along_axis(logprobs, answer[:, None, None], axis=2)[:, :, 0]
        total += np.abs(under_all - under_all[:, j : j + 1]).sum(axis=1) / tokens[rows, j, answer]
    return total / (variants * (variants - 1))


def sensitivity(probabilities: Floats, choices: Ints) -> Floats:
    """Return for each item, (items,), the entropy of the mean answer distribution as a share of its maximum.

    S_i = H(p_i) / log C_i with p_i = 1/T sum_t p(. | x_i, variant t) and C_i choices (Errica et al.
    2024, arXiv 2406.12334; their published code divides by C_i, not by log C_i). It is 0 if all variants give
    the same answer and 1 if all choices are equally frequent. Computed from probabilities, it also includes
    the model's uncertainty under each single prompt. Computed from the answers alone (`one_hot`), as in their
    code, it includes only the effect of the prompt.
    choices: (items,), the number of choices of each item; the result is 0 for an item with one choice.
    """
    entropy = entr(probabilities.mean(axis=1)).sum(axis=1)
    largest = np.log(choices)
    return np.divide(entropy, largest, out=np.zeros(len(choices)), where=choices > 1)


def answer_sensitivity(chosen: Ints, choices: Ints) -> Floats:
    """Return `sensitivity` of the answers alone for each item, (items,), as in the published code.

    chosen: (items, variants). choices: (items,), the number of choices of each item.
    """
    return sensitivity(one_hot(chosen, int(choices.max())), choices)


def class_consistency(probabilities: Floats, answer: Ints) -> float:
    """Return how similar the answers to items of the same class are: the mean of 1 - TVD over their pairs.

    C_y = E[1 - TVD(p_i, p_j)] over pairs i != j of items whose correct answer is y, where p_i is the mean
    over variants as in `sensitivity` and TVD(p, q) = 1/2 sum_k |p_k - q_k| (Errica et al. 2024,
    arXiv 2406.12334); here averaged over the classes with equal weights. It is 1 if all items of a class get
    the same distribution, whether right or wrong.
    answer: (items,), the class of each item. It is meaningful only if all items have the same choices.
    Returns NaN if no class has two items.
    """
    mean = probabilities.mean(axis=1)
    members = [mean[answer == label] for label in np.unique(answer)]
    similarities = [1 - mean_gap(rows.T).sum() / 2 for rows in members if len(rows) > 1]
    return float(np.mean(similarities)) if similarities else float("nan")


def jensen_shannon(probabilities: Floats) -> Floats:
    """Return for each item, (items,), the mean Jensen-Shannon divergence between two variants, in bits.

    JSD(p, q) = H((p + q)/2) - (H(p) + H(q))/2 with logarithms to base 2, between 0 and 1 (Lin 1991,
    doi 10.1109/18.61115); averaged over all pairs of variants. For the answers alone (`one_hot`) it equals
    the flip rate. It is a soft flip rate, which changes before an answer flips.
    """
    variants = probabilities.shape[1]
    total = np.zeros(len(probabilities))
    if variants < 2:
        return total
    entropy = entr(probabilities).sum(axis=2)
    for j in range(variants - 1):
        mixed = entr((probabilities[:, j : j + 1] + probabilities[:, j + 1 :]) / 2).sum(axis=2)
        total += (mixed - (entropy[:, j : j + 1] + entropy[:, j + 1 :]) / 2).sum(axis=1)
    pairs = variants * (variants - 1) / 2
    return np.maximum(0.0, total / pairs / np.log(2))  # rounding can make a zero negative
