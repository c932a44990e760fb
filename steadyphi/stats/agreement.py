"""How much the probabilities of the answers depend on the prompt.

The arrays: `probabilities` (items, variants, K), which sum to 1 over each item's choices and are 0 where an
item has fewer than K (`scorers.probabilities`, or `one_hot` of the answers alone).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from steadyphi.stats.measures import mean_gap

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]


def one_hot(chosen: Ints, width: int) -> Floats:
    """Return answers (items, variants) as distributions (items, variants, width), all on the chosen one."""
    return np.eye(width)[chosen]


def posix(logprobs: Floats, tokens: Ints, chosen: Ints) -> Floats:
    """Return POSIX per item, (items,): how far the prompt moves a log-probability, in nats per token.

    psi = 1/(T (T-1)) sum_i sum_{j != i} 1/L_j |log P(y_j | x_i) - log P(y_j | x_j)|, where y_j is the
    answer chosen under variant j and L_j its number of tokens there (Chatterjee et al. 2024, arXiv
    2410.02185, eq. 1; the paper's index is the mean over the items). Here P(y_j | x_i) is the probability
    of the same choice as variant i writes it: with that variant's space or label, if it has one.
    logprobs: (items, variants, K), in nats, summed over tokens; tokens: of the same shape; chosen:
    (items, variants). Not bounded above; 0 where all variants give each answer the same probability.
    The paper's own package (prompt-sensitivity-index 0.0.1) computes something else: it holds the prompt and
    swaps the answer, |log P(y_i | x_j) - log P(y_j | x_j)|, and divides by the most tokens allowed.
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
    """Return per item, (items,), the entropy of the mean answer distribution as a share of its maximum.

    S_i = H(p_i) / log C_i with p_i = 1/T sum_t p(. | x_i, variant t) and C_i choices (Errica et al.
    2024, arXiv 2406.12334; their published code divides by C_i, not by log C_i). 0 when every item gets one
    answer from all variants, 1 when all choices are equally frequent. Of probabilities it also counts the
    doubt that a model has under each single prompt; of the answers alone (`one_hot`), from which their code
    takes p, it counts only what the prompt changes.
    choices: (items,), the number of choices of each; an item with one choice counts as 0.
    """
    entropy = entr(probabilities.mean(axis=1)).sum(axis=1)
    most = np.log(choices)
    return np.divide(entropy, most, out=np.zeros(len(choices)), where=choices > 1)


def answer_sensitivity(chosen: Ints, choices: Ints) -> Floats:
    """Return `sensitivity` of the answers alone, per item, (items,), as the published code computes it.

    chosen: (items, variants). choices: (items,), the number of choices of each.
    """
    return sensitivity(one_hot(chosen, int(choices.max())), choices)


def class_consistency(probabilities: Floats, answer: Ints) -> float | None:
    """Return how alike the items of one class are answered: the mean of 1 - TVD over pairs of them.

    C_y = E[1 - TVD(p_i, p_j)] over pairs i != j of items whose right answer is y, p_i averaged over
    variants as in `sensitivity` and TVD(p, q) = 1/2 sum_k |p_k - q_k| (Errica et al. 2024,
    arXiv 2406.12334); here averaged over the classes, each with equal weight. 1 when all items of a class
    get the same distribution, right or wrong.
    answer: (items,), the class of each. It means something only where the choices are the same for all items.
    None where no class has two items.
    """
    mean = probabilities.mean(axis=1)
    members = [mean[answer == label] for label in np.unique(answer)]
    found = [1 - mean_gap(rows.T).sum() / 2 for rows in members if len(rows) > 1]
    return float(np.mean(found)) if found else None


def jensen_shannon(probabilities: Floats) -> Floats:
    """Return per item, (items,), the mean Jensen-Shannon divergence of two variants' answers, in bits.

    JSD(p, q) = H((p + q)/2) - (H(p) + H(q))/2 with logarithms to base 2, between 0 and 1 (Lin 1991,
    doi 10.1109/18.61115); averaged over all pairs of variants. Of answers alone
    (`one_hot`) it is the flip rate: it is that rate's soft form, and moves before an answer flips.
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
    return np.maximum(0.0, total / pairs / np.log(2))  # rounding may make a zero negative
