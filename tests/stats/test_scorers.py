"""Scorers: by hand, by the published formulas for probabilities, and general properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from steadyphi.errors import SteadyPhiError
from steadyphi.stats import scorers

pytestmark = pytest.mark.filterwarnings("error")

GONE = -np.inf
# 2 items, 1 variant; the second item has two choices.
LOGPROBS = np.array([[[-4.0, -3.0, -6.0]], [[-2.0, -5.0, GONE]]])
TOKENS = np.array([[[2, 1, 4]], [[1, 5, 0]]])

FULL = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-30, 0))
)


def gaps(logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same scores without the last choice of every other item."""
    logprobs = logprobs.copy()
    logprobs[::2, :, -1] = GONE if logprobs.shape[2] > 1 else logprobs[::2, :, -1]
    return logprobs


def test_raw_and_length_normalized_by_hand() -> None:
    assert scorers.choose(LOGPROBS).tolist() == [[1], [0]]
    # per token: -2, -3, -1.5 and -2, -1
    normalized = scorers.length_normalized(LOGPROBS, TOKENS)
    assert normalized.tolist() == [[[-2, -3, -1.5]], [[-2, -1, GONE]]]
    assert scorers.choose(normalized).tolist() == [[2], [1]]


def test_normalized_by_bytes() -> None:
    lengths = scorers.byte_lengths([["ja", "né", "vielleicht"], ["x", "y"]])
    assert lengths.tolist() == [[[2, 3, 10]], [[1, 1, 0]]]  # é is two bytes
    scores = scorers.length_normalized(np.repeat(LOGPROBS, 2, axis=1), lengths)
    assert scores[0, 1].tolist() == pytest.approx([-2, -1, -0.6])


def test_a_choice_without_length_is_refused() -> None:
    with pytest.raises(SteadyPhiError, match="item 1, variant 0: choice 0 has no length"):
        scorers.length_normalized(LOGPROBS, np.array([[[2, 1, 4]], [[0, 5, 0]]]))


def test_of_equal_scores_the_first_is_chosen() -> None:
    assert scorers.choose(np.array([[[-2.0, -1.0, -1.0], [GONE, -7.0, -7.0]]])).tolist() == [[1, 1]]


def test_probabilities_by_hand() -> None:
    # ratios 1 : 3 : 4 for two items; the second lacks the last choice
    shares = scorers.probabilities(np.log([[[0.1, 0.3, 0.4]], [[0.1, 0.3, 1e-300]]]))
    assert shares[0, 0].tolist() == pytest.approx([1 / 8, 3 / 8, 4 / 8])
    gone = scorers.probabilities(np.array([[[np.log(0.1), np.log(0.3), GONE]]]))
    assert gone[0, 0].tolist() == pytest.approx([1 / 4, 3 / 4, 0])
    assert scorers.of_choice(shares, np.array([2, 1]))[:, 0].tolist() == pytest.approx([4 / 8, 3 / 4])
    assert scorers.of_choice(shares, np.array([[0], [0]]))[:, 0].tolist() == pytest.approx([1 / 8, 1 / 4])


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_no_score_is_refused(broken: float) -> None:
    scores = np.zeros((2, 3, 2))
    scores[1, 2, 0] = broken
    for read in (scorers.choose, scorers.probabilities, scorers.batch_calibrated):
        with pytest.raises(SteadyPhiError, match="item 1, variant 2: choice 0 has the score"):
            read(scores)


def test_an_item_without_choices_is_refused() -> None:
    with pytest.raises(SteadyPhiError, match="item 0, variant 1: no choice has a score"):
        scorers.choose(np.array([[[0.0, GONE], [GONE, GONE]]]))


def test_contextual_calibration_by_hand() -> None:
    # p = (0.6, 0.4), after "N/A" p_cf = (0.8, 0.2): W p = (0.75, 2), so the second choice; then normalized
    scores = scorers.contextual(np.log([[[0.6, 0.4]]]), np.log([[[0.8, 0.2]]]))
    assert scorers.choose(scores).tolist() == [[1]]
    assert scorers.probabilities(scores)[0, 0].tolist() == pytest.approx([0.75 / 2.75, 2 / 2.75])


@given(FULL, st.integers(0, 99))
def test_contextual_calibration_is_the_papers_affine_map(p: NDArray[np.float64], seed: int) -> None:
    """Zhao et al. 2021: normalize, multiply by W = diag(p_cf)^-1, take the argmax."""
    free = -np.random.default_rng(seed).exponential(2, (1, *p.shape[1:]))
    scores = scorers.contextual(p, free)
    for item, variant in np.ndindex(p.shape[:2]):
        label = np.exp(p[item, variant] - p[item, variant].max())
        p_cf = np.exp(free[0, variant]) / np.exp(free[0, variant]).sum()
        calibrated = np.linalg.inv(np.diag(p_cf)) @ (label / label.sum())
        assert scorers.probabilities(scores)[item, variant] == pytest.approx(calibrated / calibrated.sum())


def test_a_choice_impossible_without_content_is_found_when_chosen() -> None:
    with pytest.raises(SteadyPhiError, match="item 0, variant 0: choice 1 has the score inf"):
        scorers.choose(scorers.contextual(np.array([[[-1.0, -2.0]]]), np.array([[[-1.0, GONE]]])))


def test_batch_calibration_by_hand() -> None:
    # Three items prefer choice 0, with probability 0.9, 0.8 and 0.6. The means are 2.3/3 = 0.767 and
    # 0.7/3 = 0.233. Ratios: 0.9/0.767 > 0.1/0.233, 0.8/0.767 = 1.04 > 0.2/0.233, 0.6/0.767 < 0.4/0.233:
    # the third turns.
    logprobs = np.log([[[0.9, 0.1]], [[0.8, 0.2]], [[0.6, 0.4]]])
    scores = scorers.batch_calibrated(logprobs)
    assert np.exp(scores[:, 0, 1]).tolist() == pytest.approx([0.3 / 0.7, 0.6 / 0.7, 1.2 / 0.7])
    assert np.exp(scores[1, 0, 0]) == pytest.approx(2.4 / 2.3)
    assert scorers.choose(scores)[:, 0].tolist() == [0, 0, 1]


def test_batch_calibration_of_positions() -> None:
    # The model prefers the first place, where choice 0 of item 0 and choice 1 of item 1 are shown.
    logprobs = np.log([[[0.9, 0.1]], [[0.4, 0.6]]])
    classes = np.array([[[0, 1]], [[1, 0]]])
    scores = scorers.batch_calibrated(logprobs, classes)
    # first place: 0.9 and 0.6, mean 0.75; second place: 0.1 and 0.4, mean 0.25
    assert np.exp(scores[1, 0]).tolist() == pytest.approx([0.4 / 0.25, 0.6 / 0.75])
    assert scorers.choose(scores)[:, 0].tolist() == [0, 0]


def test_batch_calibration_normalizes_over_the_choices_that_an_item_has() -> None:
    # 0.09 and 0.01 normalize to 0.9 and 0.1, and a single choice to 1. Means: 0.95 and 0.1.
    scores = scorers.batch_calibrated(np.array([[np.log([0.09, 0.01])], [[np.log(0.5), GONE]]]))
    assert np.exp(scores[0, 0]).tolist() == pytest.approx([0.9 / 0.95, 1])
    assert np.exp(scores[1, 0]).tolist() == pytest.approx([1 / 0.95, 0])


@given(FULL, st.booleans())
def test_batch_calibration_is_the_papers_ratio(full: NDArray[np.float64], some_gone: bool) -> None:
    """Zhou et al. 2023: p / mean p, written out for each variant and class."""
    logprobs = gaps(full) if some_gone else full
    scores = scorers.batch_calibrated(logprobs)
    there = np.isfinite(logprobs)
    assert (np.isfinite(scores) == there).all()
    p = np.exp(logprobs - logprobs.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    for variant, choice in np.ndindex(logprobs.shape[1:]):
        column = p[there[:, variant, choice], variant, choice]
        if column.size:
            ratios = np.exp(scores[there[:, variant, choice], variant, choice])
            assert ratios == pytest.approx(column / column.mean(), rel=1e-6)


@given(FULL)
def test_missing_choices_are_never_chosen(full: NDArray[np.float64]) -> None:
    logprobs = gaps(full)
    there = np.isfinite(logprobs)
    lengths = np.where(there, 3, 0)
    for scores in (
        logprobs,
        scorers.length_normalized(logprobs, lengths),
        scorers.contextual(logprobs, np.where(there, -1.0, GONE)),
        scorers.batch_calibrated(logprobs),
    ):
        assert (scores[~there] == GONE).all()
        assert scorers.of_choice(there, scorers.choose(scores)).all()
        shares = scorers.probabilities(scores)
        assert (shares[~there] == 0).all() and shares.sum(axis=2) == pytest.approx(1)


def test_any_beginning_adds_the_probabilities_of_the_ways() -> None:
    ways = np.log([[0.2, 0.1], [0.1, 0.3], [0.0625, 0.0625]])
    assert np.exp(scorers.any_beginning(ways)) == pytest.approx([0.3625, 0.4625])
    # alone, the first way would choose the other choice
    assert ways[0].argmax() == 0 and scorers.any_beginning(ways).argmax() == 1
