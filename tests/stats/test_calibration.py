"""Calibration and position preference: by hand, compared with torchmetrics, and general properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from steadyphi.stats import calibration

pytestmark = pytest.mark.filterwarnings("error")

CONFIDENCE = np.array([0.26, 0.31, 0.42, 0.42, 0.55, 0.58, 0.61, 0.77, 0.79, 0.93, 0.95, 0.99])
RIGHT = np.array([0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 1], dtype=bool)
POSITIONS = st.tuples(st.integers(1, 6), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.int64, (2, *shape), elements=st.integers(0, 3))
)


def test_expected_calibration_error_by_hand_and_as_torchmetrics() -> None:
    """torchmetrics 1.9.0, multiclass_calibration_error(norm="l1"), computes 0.0633333 and 0.1933333."""
    # Five bins, number right minus sum of confidence in each: (0.2, 0.4] 1 - 0.57, (0.4, 0.6] 2 - 1.97,
    # (0.6, 0.8] 2 - 2.17, (0.8, 1] 3 - 2.87; 0.43 + 0.03 + 0.17 + 0.13 over 12.
    assert calibration.expected_calibration_error(CONFIDENCE, RIGHT, bins=5) == pytest.approx(0.76 / 12)
    assert calibration.expected_calibration_error(CONFIDENCE, RIGHT) == pytest.approx(0.1933333, abs=1e-6)


def test_a_bin_holds_its_upper_edge() -> None:
    # 0.5 belongs to (0, 0.5] with 0.2: one right, confidence 0.7, so 0.3. (0.5, 1] holds 0.9 alone, wrong.
    error = calibration.expected_calibration_error(
        np.array([0.2, 0.5, 0.9]), np.array([False, True, False]), 2
    )
    assert error == pytest.approx((0.3 + 0.9) / 3)
    assert calibration.expected_calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)), st.integers(1, 20))
def test_expected_calibration_error_bounds(confidence: NDArray[np.float64], bins: int) -> None:
    correct = confidence > 0.3
    error = calibration.expected_calibration_error(confidence, correct, bins)
    # at least the gap with a single bin, at most the mean of all gaps
    assert abs(correct.mean() - confidence.mean()) - 1e-12 <= error
    assert error <= np.abs(correct - confidence).mean() + 1e-12
    backwards = calibration.expected_calibration_error(confidence[::-1], correct[::-1], bins)
    assert backwards == pytest.approx(error)


def test_positions_by_hand() -> None:
    # 2 items, 3 variants. The right answer is at 0 four times, at 1 and 2 once; chosen are 0 five times and
    # 2 once.
    right_at = np.array([[0, 0, 1], [2, 0, 0]])
    chosen_at = np.array([[0, 0, 0], [2, 0, 0]])
    assert calibration.position_shares(chosen_at, 4).tolist() == pytest.approx([5 / 6, 0, 1 / 6, 0])
    # shares 5/6, 0, 1/6 of the chosen and 4/6, 1/6, 1/6 of the right
    assert calibration.position_bias(chosen_at, right_at) == pytest.approx(1 / 6)
    # recalls: 4 of 4 at 0, 0 of 1 at 1, 1 of 1 at 2; no right answer is at 3
    recalls = calibration.position_recalls(chosen_at, right_at, 4)
    assert recalls[:3].tolist() == [1, 0, 1] and np.isnan(recalls[3])
    # standard deviation of 1, 0, 1 around 2/3: sqrt((1/9 + 4/9 + 1/9) / 3)
    assert calibration.recall_deviation(chosen_at, right_at) == pytest.approx((2 / 9) ** 0.5)


def test_a_position_without_right_answers_is_left_out_of_the_deviation() -> None:
    # right at 0 (recalled) and at 2 (missed), never at 1: standard deviation of 1, 0
    assert calibration.recall_deviation(np.array([[0], [1]]), np.array([[0], [2]])) == 0.5


def test_always_the_first_is_the_largest_deviation_of_two() -> None:
    right_at = np.array([[0, 1], [1, 0]])
    assert calibration.recall_deviation(np.zeros((2, 2), dtype=int), right_at) == 0.5
    assert calibration.position_bias(np.zeros((2, 2), dtype=int), right_at) == 0.5


@given(POSITIONS)
def test_position_bounds_and_symmetry(pair: NDArray[np.int_]) -> None:
    chosen_at, right_at = pair
    assert 0 <= calibration.recall_deviation(chosen_at, right_at) <= 0.5
    assert 0 <= calibration.position_bias(chosen_at, right_at) <= 1
    assert (
        calibration.recall_deviation(right_at, right_at) == calibration.position_bias(right_at, right_at) == 0
    )
    turned = (pair[:, ::-1, ::-1] + 1) % 4  # reverse items and variants, and rename positions
    assert calibration.position_bias(*turned) == pytest.approx(calibration.position_bias(*pair))
    assert calibration.recall_deviation(*turned) == pytest.approx(calibration.recall_deviation(*pair))
