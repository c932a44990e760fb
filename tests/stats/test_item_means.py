"""The values of the items have the measure as their mean, and its error."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from steadyphi.stats import measures
from steadyphi.stats.item_means import ITEM_MEANS, drop_values, kappa_values

pytestmark = pytest.mark.filterwarnings("error")


def test_influence_on_the_drop_rate() -> None:
    """The mean of its values is the measure; their differences are the derivatives by the items' weights."""
    rng = np.random.default_rng(0)
    correct, default = rng.random((30, 4)) < 0.5, rng.random((30, 1)) < 0.7
    values = drop_values(correct, default)
    drop = measures.performance_drop_rate(correct, default)
    assert values.mean() == pytest.approx(drop)
    weights = np.full(30, 1.0)
    weights[3] += 1e-6
    moved = 1 - np.average(correct.mean(axis=1), weights=weights) / np.average(default[:, 0], weights=weights)
    assert (moved - drop) * 30 / 1e-6 == pytest.approx(values[3] - drop, rel=1e-4)
    assert np.isnan(drop_values(correct, np.zeros((30, 1), bool))).all()


@pytest.mark.parametrize("function", ITEM_MEANS)
def test_a_mean_over_items_is_the_mean_of_its_items(function: Callable[..., Any]) -> None:
    values = np.random.default_rng(0).integers(0, 2, (30, 5)).astype(bool)
    if function in (measures.flip_rate, measures.mean_consistency, measures.fleiss_kappa):
        values = values.astype(int)
    paired = function in (measures.mean_difference, measures.performance_drop_rate)
    inputs = [values, values[:, :1]] if paired else [values]
    if function is measures.pooled_share:
        inputs = [values.sum(axis=1, keepdims=True), 5 + np.arange(30)[:, None] % 3]
    of_items = ITEM_MEANS[function](*inputs)
    assert of_items.shape == (30,)
    assert np.mean(of_items) == pytest.approx(function(*inputs))


def test_the_items_of_kappa_have_its_error() -> None:
    """The standard error of their mean is that of kappa over resampled items."""
    rng = np.random.default_rng(0)
    chosen = np.where(
        rng.random((300, 5)) < 0.6, rng.integers(3, size=(300, 1)), rng.integers(3, size=(300, 5))
    )
    drawn = [measures.fleiss_kappa(chosen[rng.integers(300, size=300)]) for _ in range(400)]
    error = kappa_values(chosen).std() / 300**0.5
    assert error == pytest.approx(np.std(drawn), rel=0.12)
    assert (kappa_values(np.zeros((4, 2), int)) == 1).all()
