"""Variance components: how much accuracies differ between variants once the sampling noise is removed.

Even if T variants are equally good, the best seems better than the worst, because only a sample of items is
asked. The two-way analysis of variance of `correct` (items N, variants T) separates this noise from real
differences. With cell x, its row mean, its column mean and the grand mean,

    MS_T   = N sum_t (column_t - grand)^2 / (T - 1)
    MS_res = sum_it (x_it - row_i - column_t + grand)^2 / ((N - 1)(T - 1))
    sigma_T^2 = (MS_T - MS_res) / N, at least 0

(the crossed random-effects model without replication, by the method of moments: Searle, Casella & McCulloch
1992, Variance Components, chapter 4). An item's difficulty is common to its row and cancels. MS_res / N is
the part of the variance of the observed accuracies, MS_T / N, that is noise.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from steadyphi.stats import measures
from steadyphi.stats.bootstrap import DEFAULT, Resampling, expanded, item_means, tails
from steadyphi.stats.interval import Interval


@dataclass(frozen=True)
class Components:
    """Standard deviations and spreads in accuracy (0 to 1).

    sigma: the standard deviation between variants without noise (sigma_T); its interval comes from resampled
        items.
    noise: the standard deviation of one variant's accuracy due to the sample of items, without the part that
        all variants share.
    noise_share: the share of noise in the variance of the observed accuracies; 0 if they are all equal.
    spread: best minus worst, as observed.
    corrected_spread: the spread without noise, see `variance_components`. It has no interval: none was found
        that holds where the variants form two clusters.
    """

    sigma: Interval
    noise: float
    noise_share: float
    spread: float
    corrected_spread: float


def variance_components(correct: NDArray[np.bool_], resampling: Resampling = DEFAULT) -> Components:
    """Return the variance components of `correct` (items, variants), and the spread without noise.

    The corrected spread is the observed one times sigma_T / S, where S is the standard deviation of the
    observed accuracies. It is the spread after the accuracies are shrunk towards their mean until they vary
    as much as the true ones (constrained empirical Bayes; Louis 1984, doi 10.1080/01621459.1984.10478062).
    For normally distributed accuracies it equals sigma_T times `expected_range(T)`, but it does not assume a
    normal distribution. It is still too large if most variants lie near the two extremes;
    `heldout.best_and_worst` is not.

    The interval of sigma_T comes from resampled items. Each resample adds its own noise to sigma_T^2, so the
    draws are shifted to have the estimate as their mean, then clipped at 0. Its coverage is at least nominal
    when the variants resemble each other in groups; there the interval from the noncentral F distribution
    covered 65% instead of 95%. With fewer than two items or variants, everything but `spread` is 0.
    """
    items, variants = correct.shape
    spread = measures.spread(correct)
    if min(items, variants) < 2:
        return Components(Interval(0.0, 0.0, 0.0), 0.0, 0.0, spread, 0.0)
    sums = _sums(correct)
    observed, noise = _variances(sums.mean(axis=0)[None], items)
    estimate = float(observed[0] - noise[0])
    drawn = _drawn(sums, resampling)
    ends = np.quantile(drawn - drawn.mean() + estimate, tails(expanded(resampling.confidence, items)))
    sigma = Interval(*(float(np.sqrt(max(0.0, v))) for v in (estimate, *ends)))
    shape = spread / np.sqrt(observed[0]) if observed[0] > 0 else 0.0
    return Components(
        sigma,
        float(np.sqrt(noise[0])),
        float(min(1.0, noise[0] / observed[0])) if observed[0] > 0 else 0.0,
        spread,
        float(min(1.0, shape * sigma.value)),
    )


def variance_change(
    before: NDArray[np.bool_], after: NDArray[np.bool_], resampling: Resampling
) -> tuple[float, NDArray[np.float64]]:
    """Return the change of sigma_T^2 from before to after, and its error in each draw, (draws,).

    The estimates of sigma_T^2 are differences of mean squares, unbiased and smooth, and may be negative here.
    The same items are drawn for both, arrays (items, variants) with at least two of each.
    """
    values, draws = [], []
    for correct in (before, after):
        sums = _sums(correct)
        observed, noise = _variances(sums.mean(axis=0)[None], len(correct))
        values.append(float(observed[0] - noise[0]))
        draws.append(_drawn(sums, resampling))
    errors = draws[1] - draws[0]
    return values[1] - values[0], errors - errors.mean()


def sigma(correct: NDArray[np.bool_], resampling: Resampling) -> Interval:
    """Return `Components.sigma`."""
    return variance_components(correct, resampling).sigma


def corrected_spread(correct: NDArray[np.bool_], resampling: Resampling) -> float:
    """Return `Components.corrected_spread`."""
    return variance_components(correct, resampling).corrected_spread


def noise_share(correct: NDArray[np.bool_], resampling: Resampling) -> float:
    """Return `Components.noise_share`."""
    return variance_components(correct, resampling).noise_share


def _drawn(sums: NDArray[np.float64], resampling: Resampling) -> NDArray[np.float64]:
    """Return sigma_T^2, not cut at 0, in each draw."""
    observed, noise = _variances(item_means(sums, resampling), len(sums))
    return observed - noise


def _sums(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return, for each item, the terms of the sums of squares: its cells, its squared mean, and its mean.

    The mean of an item's squared cells equals its mean, because 0 and 1 are their own squares.
    """
    share = correct.mean(axis=1, keepdims=True)
    return np.hstack([correct, share**2, share])


def _variances(means: NDArray[np.float64], items: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return MS_T / N and MS_res / N, from means of `_sums` over items, (draws, variants + 2)."""
    columns, squares, shares = means[:, :-2], means[:, -2], means[:, -1]
    variants = columns.shape[1]
    observed = columns.var(axis=1, ddof=1)
    # Per item: the sum of squares within rows minus that between columns is the residual.
    residual = variants * (shares - squares) - (variants - 1) * observed
    return observed, np.maximum(0.0, residual) / ((items - 1) * (variants - 1))


def expected_range(count: int) -> float:
    """Return the expected range of `count` independent standard normal numbers.

    The integral of 1 - F(x)^n - (1 - F(x))^n (Tippett 1925, doi 10.1093/biomet/17.3-4.364), known as d2 in
    quality control.
    """
    value, _ = quad(lambda x: 1 - norm.cdf(x) ** count - norm.sf(x) ** count, -10, 10)
    return float(value)
