"""Each measure compared with a case worked by hand or a published value, and general properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from steadyphi.stats import measures

pytestmark = pytest.mark.filterwarnings("error")

# The chosen answers of 4 items (rows) in 3 formats (columns), and the right answers.
CHOSEN = np.array([[0, 0, 0], [1, 1, 2], [0, 1, 2], [3, 3, 3]])
ANSWER = np.array([0, 1, 2, 0])
CORRECT = CHOSEN == ANSWER[:, None]
# 4 items, 2 formats: right 3 and 1 times.
UNEVEN = np.array([[1, 1], [1, 0], [1, 0], [0, 0]], dtype=bool)

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))
CHOICES = SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3)))
FLAGS = SHAPES.flatmap(lambda shape: arrays(np.bool_, shape))


def test_by_hand() -> None:
    # right per format: 2, 2, 2 of 4 ... format 1: items 0, 1; format 2: items 0, 1; format 3: items 0, 2
    assert measures.spread(CORRECT) == 0
    assert measures.spread(CORRECT[[0, 1, 3]]) == pytest.approx(2 / 3 - 1 / 3)
    # pairs (1,2): item 2 differs, 1/4; (1,3): items 1, 2, 2/4; (2,3): items 1, 2, 2/4
    assert measures.flip_rate(CHOSEN) == pytest.approx((1 / 4 + 2 / 4 + 2 / 4) / 3)
    assert measures.flip_rate(CHOSEN[:, :1]) == 0
    # always right: item 0; right at least once: items 0, 1, 2
    assert measures.worst_case(CORRECT) == 1 / 4
    assert measures.best_case(CORRECT) == 3 / 4


def test_saturation_and_combined_performance_by_hand() -> None:
    # accuracies 3/4 and 1/4: MaxP 3/4, AvgP 1/2, Sat 1 - 1/4, CPS 3/4 * 3/4
    assert measures.saturation(UNEVEN) == pytest.approx(3 / 4)
    assert measures.combined_performance_score(UNEVEN) == pytest.approx(9 / 16)


def test_consistency_as_published() -> None:
    """Fleiss' P_i for 10 subjects and 14 raters: the example of Wikipedia's article on his kappa."""
    counts = """0 0 0 0 14 / 0 2 6 4 2 / 0 0 3 5 6 / 0 3 9 2 0 / 2 2 8 1 1
                / 7 7 0 0 0 / 3 2 6 3 0 / 2 5 3 2 2 / 6 5 2 1 0 / 0 2 2 3 7"""
    rows = [np.repeat(np.arange(5), [int(n) for n in row.split()]) for row in counts.split("/")]
    consistency = measures.consistency(np.array(rows))
    assert consistency.round(3).tolist() == [1, 0.253, 0.308, 0.440, 0.330, 0.462, 0.242, 0.176, 0.286, 0.286]
    assert consistency.mean() == pytest.approx(0.378, abs=5e-4)


def test_prompt_sensi_score_by_hand() -> None:
    # Items 0 and 3 never differ. Item 1 is right in two of three formats, so 2 of 3 pairs differ; item 2 is
    # right in one of three: again 2 of 3. The mean is (0 + 2/3 + 2/3 + 0) / 4.
    assert measures.prompt_sensi_score(CORRECT) == pytest.approx(1 / 3)
    # graded qualities 0.2, 0.9, 0.5: |0.2-0.9| + |0.2-0.5| + |0.9-0.5| = 1.4 over 3 pairs
    assert measures.prompt_sensi_score(np.array([[0.2, 0.9, 0.5]])) == pytest.approx(1.4 / 3)


@pytest.mark.parametrize("variants", range(1, 9))
def test_the_limit_of_the_prompt_sensi_score_is_the_largest_there_is(variants: int) -> None:
    every = np.array(list(itertools.product([False, True], repeat=variants)))
    largest = max(measures.prompt_sensi_score(row[None]) for row in every)
    assert measures.prompt_sensi_score_limit(np.zeros((1, variants), bool)) == pytest.approx(largest)
    # six right and six wrong of the paper's twelve: 36 of 66 pairs differ
    assert measures.prompt_sensi_score_limit(np.zeros((3, 12), bool)) == pytest.approx(36 / 66)


def right(*counts: int) -> NDArray[np.bool_]:
    """Return `correct` for ten items, with these numbers of right answers in the variants."""
    return np.column_stack([np.arange(10) < count for count in counts])


def test_performance_drop_rate_by_hand() -> None:
    def rate(*counts: int) -> float:
        return measures.performance_drop_rate(right(*counts[1:]), right(counts[0]))

    assert rate(8, 5, 7) == pytest.approx(0.25)  # a quarter of 0.8 is gone
    assert rate(5, 6) == pytest.approx(-0.2)
    assert rate(5, 0) == 1
    assert np.isnan(rate(0, 3))


def test_length_ratio_by_hand() -> None:
    # 3 and 9 tokens against 0 and 4: means 6 and 2
    assert measures.length_ratio(np.array([3, 9]), np.array([0, 4])) == 3
    assert np.isnan(measures.length_ratio(np.array([3, 9]), np.array([0, 0])))


@given(CHOICES)
def test_flip_rate_is_the_mean_over_pairs(chosen: NDArray[np.int_]) -> None:
    pairs = [(a != b).mean() for a, b in itertools.combinations(chosen.T, 2)]
    assert measures.flip_rate(chosen) == pytest.approx(np.mean(pairs) if pairs else 0)


@given(arrays(np.float64, SHAPES, elements=st.floats(0, 1)))
def test_mean_gap_is_the_mean_over_pairs(values: NDArray[np.float64]) -> None:
    pairs = [np.abs(a - b) for a, b in itertools.combinations(values.T, 2)]
    expected = np.mean(pairs, axis=0) if pairs else np.zeros(len(values))
    assert measures.mean_gap(values) == pytest.approx(expected)


@given(FLAGS)
def test_bounds(correct: NDArray[np.bool_]) -> None:
    worst, mean, best = measures.worst_case(correct), correct.mean(), measures.best_case(correct)
    assert 0 <= worst <= mean + 1e-12 and mean <= best + 1e-12 and best <= 1
    assert worst <= correct.mean(axis=0).min() and correct.mean(axis=0).max() <= best
    assert 0 <= measures.spread(correct) <= 1
    assert 0 <= measures.combined_performance_score(correct) <= correct.mean(axis=0).max() + 1e-12
    limit = measures.prompt_sensi_score_limit(correct)
    assert 0 <= measures.prompt_sensi_score(correct) <= limit + 1e-12


@given(CHOICES, st.integers(0, 999))
@settings(max_examples=50)
def test_the_order_of_items_and_variants_does_not_matter(chosen: NDArray[np.int_], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(rng.permutation(chosen, axis=0), axis=1)
    assert measures.flip_rate(shuffled) == pytest.approx(measures.flip_rate(chosen))
    for measure in (
        measures.spread,
        measures.worst_case,
        measures.best_case,
        measures.saturation,
        measures.combined_performance_score,
        measures.prompt_sensi_score,
    ):
        assert measure(shuffled == 0) == pytest.approx(measure(chosen == 0))


@given(arrays(np.int64, st.integers(1, 6), elements=st.integers(0, 3)), st.integers(1, 5))
def test_variants_that_agree_are_steady(answers: NDArray[np.int_], variants: int) -> None:
    chosen = np.repeat(answers[:, None], variants, axis=1)
    correct = chosen == 0
    assert measures.flip_rate(chosen) == 0 and (measures.consistency(chosen) == 1).all()
    assert measures.spread(correct) == 0 and measures.prompt_sensi_score(correct) == 0
    assert measures.saturation(correct) == pytest.approx(1)
    assert measures.worst_case(correct) == measures.best_case(correct) == correct.mean()


def test_fleiss_kappa_as_published() -> None:
    """Fleiss 1971, table 1 as in the textbook example of 10 subjects, 14 raters, 5 categories: 0.210."""
    counts = np.array(
        [
            *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
            *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
        ]
    )
    chosen = np.array([np.repeat(np.arange(5), row) for row in counts])
    assert measures.fleiss_kappa(chosen) == pytest.approx(0.210, abs=5e-4)
    assert measures.fleiss_kappa(np.zeros((4, 3), int)) == 1
    assert measures.fleiss_kappa(np.repeat([[0], [1]], 3, axis=1)) == 1
    assert measures.fleiss_kappa(np.array([[0, 1], [0, 1]])) == -1
