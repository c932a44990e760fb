"""Variance components: how much accuracies differ between variants once the noise of few items is removed.

Of T variants that are all equally good, the best seems better than the worst, because each is asked on a
sample of items only. The two-way analysis of variance of `correct` (items N, variants T) tells this noise
from real differences. With cell x, its row mean, column mean and the grand mean,

    MS_T   = N sum_t (column_t - grand)^2 / (T - 1)
    MS_res = sum_it (x_it - row_i - column_t + grand)^2 / ((N - 1)(T - 1))
    sigma_T^2 = (MS_T - MS_res) / N, at least 0

(the crossed random-effects model without replication, by the method of moments: Searle, Casella & McCulloch
1992, Variance Components, chapter 4). An item's difficulty is common to its row and falls out. MS_res / N is
the noise in the variance of the observed accuracies, MS_T / N.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from steadyphi.stats import measures
from steadyphi.stats.bootstrap import DEFAULT, Resampling, item_means, tails
from steadyphi.stats.measures import Interval


@dataclass(frozen=True)
class Components:
    """Standard deviations and spreads in accuracy (0 to 1).

    sigma: between variants, noise removed (sigma_T); its interval comes from the items drawn again.
    noise: of one variant's accuracy, by the sample of items alone, beyond what all variants have in common.
    noise_share: of the variance of the observed accuracies; 0 if they are all equal.
    spread: best less worst, as observed.
    corrected_spread: the same with the noise removed, see `variance_components`.
    """

    sigma: Interval
    noise: float
    noise_share: float
    spread: float
    corrected_spread: Interval


def variance_components(correct: NDArray[np.bool_], resampling: Resampling = DEFAULT) -> Components:
    """Return the variance components of `correct` (items, variants), and the spread without noise.

    The corrected spread is the observed one times sigma_T / S, S being the standard deviation of the observed
    accuracies: it is the spread of accuracies drawn together until they vary as much as the true ones do
    (constrained empirical Bayes; Louis 1984, doi 10.1080/01621459.1984.10478062). For normally distributed
    accuracies that is sigma_T times `expected_range(T)`, without taking it for granted that they are normal.
    It is still too large when most variants crowd at both ends; `best_and_worst` of held-out items is not.

    Interval: items drawn again. A draw adds its own noise to sigma_T^2, so the draws are moved back to have
    the estimate as their mean, then cut at 0. It covers at least as often as it says when variants resemble
    each other in groups, where the interval by the noncentral F distribution covered 65% instead of 95%.
    With fewer than two items or variants nothing varies: all is 0.
    """
    items, variants = correct.shape
    spread = measures.spread(correct)
    if min(items, variants) < 2:
        return Components(Interval(0.0, 0.0, 0.0), 0.0, 0.0, spread, Interval(0.0, 0.0, 0.0))
    sums = _sums(correct)
    observed, noise = _variances(sums.mean(axis=0)[None], items)
    drawn_observed, drawn_noise = _variances(item_means(sums, resampling), items)
    estimate = float(observed[0] - noise[0])
    drawn = drawn_observed - drawn_noise
    ends = np.quantile(drawn - drawn.mean() + estimate, tails(resampling.confidence))
    sigma = Interval(*(float(np.sqrt(max(0.0, v))) for v in (estimate, *ends)))
    shape = spread / np.sqrt(observed[0]) if observed[0] > 0 else 0.0
    return Components(
        sigma,
        float(np.sqrt(noise[0])),
        float(min(1.0, noise[0] / observed[0])) if observed[0] > 0 else 0.0,
        spread,
        Interval(*(float(min(1.0, shape * v)) for v in (sigma.value, sigma.low, sigma.high))),
    )


def sigma(correct: NDArray[np.bool_], resampling: Resampling) -> Interval:
    """Return `Components.sigma`."""
    return variance_components(correct, resampling).sigma


def corrected_spread(correct: NDArray[np.bool_], resampling: Resampling) -> Interval:
    """Return `Components.corrected_spread`."""
    return variance_components(correct, resampling).corrected_spread


def noise_share(correct: NDArray[np.bool_], resampling: Resampling) -> float:
    """Return `Components.noise_share`."""
    return variance_components(correct, resampling).noise_share


def _sums(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return per item what the sums of squares are made of: its cells, its squared mean, and its mean.

    The mean of an item's squared cells is its mean, for 0 and 1 are their own squares.
    """
    share = correct.mean(axis=1, keepdims=True)
    return np.hstack([correct, share**2, share])


def _variances(means: NDArray[np.float64], items: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return MS_T / N and MS_res / N, from means of `_sums` over items, (draws, variants + 2)."""
    columns, squares, shares = means[:, :-2], means[:, -2], means[:, -1]
    variants = columns.shape[1]
    observed = columns.var(axis=1, ddof=1)
    # Per item: the sum of squares within rows, less that between columns, is what neither explains.
    residual = variants * (shares - squares) - (variants - 1) * observed
    return observed, np.maximum(0.0, residual) / ((items - 1) * (variants - 1))


def expected_range(count: int) -> float:
    """Return the expected range of `count` independent standard normal numbers.

    The integral of 1 - F(x)^n - (1 - F(x))^n (Tippett 1925, doi 10.1093/biomet/17.3-4.364), known as d2 in
    quality control.
    """
    value, _ = quad(lambda x: 1 - norm.cdf(x) ** count - norm.sf(x) ** count, -10, 10)
    return float(value)
