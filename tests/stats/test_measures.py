"""Each measure compared with a case worked by hand or a published value, and general properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import binomtest, ttest_1samp

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
    found = measures.consistency(np.array(rows))
    assert found.round(3).tolist() == [1, 0.253, 0.308, 0.440, 0.330, 0.462, 0.242, 0.176, 0.286, 0.286]
    assert found.mean() == pytest.approx(0.378, abs=5e-4)


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


def test_influence_on_the_drop_rate() -> None:
    """The mean of its values is the measure; their differences are the derivatives by the items' weights."""
    rng = np.random.default_rng(0)
    correct, default = rng.random((30, 4)) < 0.5, rng.random((30, 1)) < 0.7
    values = measures.drop_values(correct, default)
    drop = measures.performance_drop_rate(correct, default)
    assert values.mean() == pytest.approx(drop)
    weights = np.full(30, 1.0)
    weights[3] += 1e-6
    moved = 1 - np.average(correct.mean(axis=1), weights=weights) / np.average(default[:, 0], weights=weights)
    assert (moved - drop) * 30 / 1e-6 == pytest.approx(values[3] - drop, rel=1e-4)
    assert np.isnan(measures.drop_values(correct, np.zeros((30, 1), bool))).all()


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


def test_wilson_interval_as_published() -> None:
    """Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857, table I, method 3 (score)."""
    for right, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        correct = np.arange(of)[:, None] < right
        (found,) = measures.accuracy(correct, 0.95)
        assert found.value == right / of
        assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


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


@pytest.mark.parametrize("function", measures.ITEM_MEANS)
def test_a_mean_over_items_is_the_mean_of_its_items(function) -> None:  # type: ignore[no-untyped-def]
    values = np.random.default_rng(0).integers(0, 2, (30, 5)).astype(bool)
    if function in (measures.flip_rate, measures.mean_consistency, measures.fleiss_kappa):
        values = values.astype(int)
    paired = function in (measures.mean_difference, measures.performance_drop_rate)
    inputs = [values, values[:, :1]] if paired else [values]
    if function is measures.pooled_share:
        inputs = [values.sum(axis=1, keepdims=True), 5 + np.arange(30)[:, None] % 3]
    of_items = measures.ITEM_MEANS[function](*inputs)
    assert of_items.shape == (30,)
    assert np.mean(of_items) == pytest.approx(function(*inputs))


def test_the_items_of_kappa_have_its_error() -> None:
    """The standard error of their mean is that of kappa over resampled items."""
    rng = np.random.default_rng(0)
    chosen = np.where(
        rng.random((300, 5)) < 0.6, rng.integers(3, size=(300, 1)), rng.integers(3, size=(300, 5))
    )
    drawn = [measures.fleiss_kappa(chosen[rng.integers(300, size=300)]) for _ in range(400)]
    error = measures.kappa_values(chosen).std() / 300**0.5
    assert error == pytest.approx(np.std(drawn), rel=0.12)
    assert (measures.kappa_values(np.zeros((4, 2), int)) == 1).all()


@pytest.mark.parametrize("items", [2, 30])
def test_student_and_wilson_as_in_scipy(items: int) -> None:
    values = np.random.default_rng(1).normal(0.3, 1, items)
    found, expected = measures.mean_interval(values, 0.9), ttest_1samp(values, 0)
    ends = expected.confidence_interval(0.9)
    assert (found.low, found.high) == (pytest.approx(ends.low), pytest.approx(ends.high))
    assert measures.mean_p_value(values) == pytest.approx(expected.pvalue)
    for right in (0, 1, items):
        (share,) = measures.accuracy(np.arange(items)[:, None] < right, 0.9)
        wilson = binomtest(right, items).proportion_ci(0.9, method="wilson")
        assert (share.low, share.high) == (pytest.approx(wilson.low), pytest.approx(wilson.high))


def test_student_at_the_limits() -> None:
    assert np.isnan([measures.mean_interval(np.ones(1), 0.9).low, measures.mean_p_value(np.ones(1))]).all()
    assert [measures.mean_p_value(np.full(3, value)) for value in (0.0, 0.5)] == [1, 0]
