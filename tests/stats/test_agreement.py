"""Agreement of probabilities: by hand, compared with SciPy and the POSIX package, and general properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from steadyphi.stats import agreement, measures, scorers

pytestmark = pytest.mark.filterwarnings("error")

# 2 items, 3 variants, 3 choices; all answers have two tokens.
LOGPROBS = np.array(
    [
        [[-1.0, -2.0, -4.0], [-3.0, -0.5, -2.5], [-2.0, -1.5, -1.0]],
        [[-0.5, -3.0, -2.0], [-1.0, -2.5, -6.0], [-4.0, -1.0, -2.0]],
    ]
)
CHOSEN = np.array([[0, 1, 2], [0, 0, 1]])
TOKENS = np.full(LOGPROBS.shape, 2)


def some_logprobs(seed: int, items: int, variants: int, choices: int) -> NDArray[np.float64]:
    """Return log-probabilities where the last item has fewer choices."""
    logprobs = -np.random.default_rng(seed).exponential(2, (items, variants, choices))
    logprobs[-1, :, 1:] = -np.inf if choices == 2 else logprobs[-1, :, 1:]
    logprobs[-1, :, 2:] = -np.inf
    return logprobs


CASES = st.builds(some_logprobs, st.integers(0, 999), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))


def test_posix_by_hand() -> None:
    # Item 0: the variants answer 0, 1, 2. Answer 0 has -1 in its own variant, -3 and -2 in the others: 2 + 1.
    # Answer 1 has -0.5 in its own, -2 and -1.5 in the others: 1.5 + 1. Answer 2: -1, then -4, -2.5: 3 + 1.5.
    # The sum is 10; divided by 2 tokens 5, by 3 * 2 pairs 5/6.
    # Item 1: the variants answer 0, 0, 1. -0.5 in its own variant, -1 and -4 in the others: 0.5 + 3.5;
    # -1, then -0.5, -4: 0.5 + 3; -1, then -3, -2.5: 2 + 1.5. The sum is 11; divided as above 5.5 and 11/12.
    assert agreement.posix(LOGPROBS, TOKENS, CHOSEN).mean() == pytest.approx((5 / 6 + 11 / 12) / 2)


def test_posix_beside_the_papers_package() -> None:
    """prompt-sensitivity-index 0.0.1, get_prompt_sensitivity over these numbers (max_new_tokens=2).

    With P(answer of j | prompt i) in entry [i][j] of its table, as in its code, it returns
    0.8333333333333334, because it compares different answers after the same prompt. With the transposed table
    it compares the same answer after different prompts, which is the paper's equation.
    """
    assert agreement.posix(LOGPROBS, TOKENS, CHOSEN).mean() == pytest.approx(0.875, abs=1e-12)
    table = [[[LOGPROBS[n, i, CHOSEN[n, j]] for j in range(3)] for i in range(3)] for n in range(2)]
    swapped = [abs(rows[i][j] - rows[i][i]) / 2 for rows in table for i in range(3) for j in range(3)]
    assert sum(swapped) / (2 * 3 * 2) == pytest.approx(0.8333333333333334)


def test_posix_counts_the_tokens_of_each_answer() -> None:
    # Item 0 alone. Answer 1 now has five tokens in the variant that chose it; its other counts are not used:
    # (3/2 + 2.5/5 + 4.5/2) / 6
    tokens = TOKENS.copy()
    tokens[0, 1, 1], tokens[0, 0, 1] = 5, 99
    assert agreement.posix(LOGPROBS[:1], tokens[:1], CHOSEN[:1]).mean() == pytest.approx(4.25 / 6)


def test_sensitivity_by_hand() -> None:
    # Item 0 of two choices: answers 0, 0, 0, 1, entropy of (3/4, 1/4) over log 2.
    # Item 1 of four choices: all four once, entropy log 4 over log 4. Item 2 of one choice: 0.
    chosen = np.array([[0, 0, 0, 1], [0, 1, 2, 3], [0, 0, 0, 0]])
    first = -(3 / 4 * math.log2(3 / 4) + 1 / 4 * math.log2(1 / 4))
    sensitivity = agreement.answer_sensitivity(chosen, np.array([2, 4, 1]))
    assert sensitivity == pytest.approx([first, 1, 0])


def test_sensitivity_of_probabilities_includes_uncertainty() -> None:
    # Both variants give (0.9, 0.1): nothing depends on the prompt, but the entropy is 0.469 bits.
    unsure = np.full((1, 2, 2), [0.9, 0.1])
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert agreement.sensitivity(unsure, np.array([2])).mean() == pytest.approx(entropy)
    chosen = agreement.one_hot(scorers.choose(unsure), 2)
    assert agreement.sensitivity(chosen, np.array([2])).mean() == 0


def test_class_consistency_by_hand() -> None:
    # Two variants, three classes. Class 0 has items with the mean distributions (1, 0), (1/2, 1/2), (0, 1):
    # TVD 1/2, 1, 1/2, so 1 - 2/3. Class 1 has two items with (1/2, 1/2): 1. Class 2 has one item: skipped.
    chosen = np.array([[0, 0], [0, 1], [1, 1], [0, 1], [1, 0], [0, 0]])
    consistency = agreement.class_consistency(agreement.one_hot(chosen, 2), np.array([0, 0, 0, 1, 1, 2]))
    assert consistency == pytest.approx((1 / 3 + 1) / 2)
    assert np.isnan(agreement.class_consistency(agreement.one_hot(chosen, 2), np.arange(6)))


def test_jensen_shannon_by_hand() -> None:
    # (1, 0) and (0, 1): the mixture has 1 bit, the two have 0. (1, 0) and (1/2, 1/2): the mixture (3/4, 1/4)
    # has 0.8113 bits, the two have 0 and 1, so 0.3113. The result is the mean over the three pairs.
    assert agreement.jensen_shannon(np.array([[[1.0, 0], [0, 1]]])).mean() == pytest.approx(1)
    three = np.array([[[1.0, 0], [0, 1], [0.5, 0.5]]])
    assert agreement.jensen_shannon(three).mean() == pytest.approx((1 + 2 * 0.311278) / 3, abs=1e-6)


@given(CASES)
def test_jensen_shannon_is_scipys(logprobs: NDArray[np.float64]) -> None:
    shares = scorers.probabilities(logprobs)
    pairs = list(itertools.combinations(range(shares.shape[1]), 2))
    expected = [
        np.nan_to_num(jensenshannon(item[a], item[b], base=2)) ** 2 for item in shares for a, b in pairs
    ]
    assert agreement.jensen_shannon(shares).mean() == pytest.approx(
        np.mean(expected) if pairs else 0, abs=1e-9
    )


@given(CASES)
def test_bounds_and_what_answers_alone_give(logprobs: NDArray[np.float64]) -> None:
    shares, chosen = scorers.probabilities(logprobs), scorers.choose(logprobs)
    answers = agreement.one_hot(chosen, logprobs.shape[2])
    counts = np.isfinite(logprobs[:, 0]).sum(axis=1)
    assert agreement.jensen_shannon(answers).mean() == pytest.approx(measures.flip_rate(chosen))
    divergences = agreement.jensen_shannon(shares)
    assert (0 <= divergences).all() and (divergences <= 1 + 1e-12).all()
    for distribution in (shares, answers):
        entropies = agreement.sensitivity(distribution, counts)
        assert (0 <= entropies).all() and (entropies <= 1 + 1e-12).all()
        alike = agreement.class_consistency(distribution, np.zeros(len(chosen), dtype=int))
        assert np.isnan(alike) if len(chosen) == 1 else 0 <= alike <= 1 + 1e-12
    assert (agreement.sensitivity(answers, counts).mean() == 0) == (measures.flip_rate(chosen) == 0)
    moves = agreement.posix(logprobs, np.ones(logprobs.shape, dtype=int), chosen)
    assert (0 <= moves).all() and (moves < np.inf).all()


@given(CASES)
def test_the_order_of_items_and_variants_does_not_matter(logprobs: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(0)
    other = rng.permutation(rng.permutation(logprobs, axis=0), axis=1)
    results = []
    for values in (logprobs, other):
        shares, chosen = scorers.probabilities(values), scorers.choose(values)
        counts = np.isfinite(values[:, 0]).sum(axis=1)
        consistency = agreement.class_consistency(shares, np.zeros(len(values), dtype=int))
        posix = agreement.posix(values, np.full(values.shape, 3), chosen).mean()
        jsd, entropy = agreement.jensen_shannon(shares).mean(), agreement.sensitivity(shares, counts).mean()
        results.append((posix, jsd, entropy, consistency))
    assert results[0] == pytest.approx(results[1], abs=1e-9, nan_ok=True)


@given(CASES, st.integers(1, 4))
def test_variants_that_say_the_same_are_steady(logprobs: NDArray[np.float64], variants: int) -> None:
    same = np.repeat(logprobs[:, :1], variants, axis=1)
    chosen = scorers.choose(same)
    assert agreement.posix(same, np.ones(same.shape, dtype=int), chosen).max() == 0
    assert agreement.jensen_shannon(scorers.probabilities(same)).max() == pytest.approx(0, abs=1e-12)
    answers = agreement.one_hot(chosen, same.shape[2])
    assert agreement.jensen_shannon(answers).max() == 0
    assert agreement.sensitivity(answers, np.isfinite(same[:, 0]).sum(axis=1)).max() == 0
