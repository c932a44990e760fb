"""Bootstrap intervals: the uncertainty of a number with respect to other items of the same kind.

Each item is scored in every variant, and its difficulty affects all of its answers. Items are therefore
resampled whole, with all their variants: a cluster bootstrap. If the variants are a sample too, for instance
of a grammar of formats, and the question is about other formats, the variants can be resampled as well,
independently: the pigeonhole bootstrap (Owen 2007, doi 10.1214/07-AOAS122). Its intervals are slightly too
wide rather than too narrow.

The bootstrap of a maximum, such as the spread, adds the noise of the draw to the noise of the data. Its draws
are too high by about as much as the number itself is above the true value. The percentile interval doubles
that error (with 24 equal variants it never contained the true spread of 0). `intervals` reflects the draws at
the value: the basic interval. For means both intervals are nearly equal. For a maximum or minimum over
variants neither holds where several variants are about equally good; `extremes` has intervals that do.
`variants_differ` and `variance_components` tell whether there is any spread at all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from steadyphi.stats.interval import Interval

Arrays = Mapping[str, NDArray[Any]]  # each (items, variants) or (items, variants, more)
Statistic = Callable[[Arrays], float]

CHUNK = 256  # the number of draws whose item counts are computed at once
KEPT = 2**22  # up to this number of item counts (32 MiB) are kept for the next measure


@dataclass(frozen=True)
class Resampling:
    """How intervals and p-values are estimated by resampling.

    confidence: the level of the intervals, such as 0.95.
    draws: the number of resamples.
    seed: of the draws. The same seed draws the same items for all runs that are compared.
    """

    confidence: float = 0.95
    draws: int = 2000
    seed: int = 0


DEFAULT = Resampling()


def resamples(arrays: Arrays, resampling: Resampling, redraw_variants: bool = False) -> Iterator[Arrays]:
    """Yield the arrays with their items resampled with replacement, once per draw.

    All arrays get the same items in a draw, so paired values stay paired.
    redraw_variants: resample the variants too. A variant that is drawn twice agrees with itself, so a mean
    over pairs of T variants (a flip rate) is then smaller by the factor 1 - 1/T.
    """
    rng = np.random.default_rng(resampling.seed)
    items, variants = next(iter(arrays.values())).shape[:2]
    for _ in range(resampling.draws):
        rows = rng.integers(items, size=items)
        drawn = {key: array[rows] for key, array in arrays.items()}
        if redraw_variants:
            columns = rng.integers(variants, size=variants)
            drawn = {key: array[:, columns] for key, array in drawn.items()}
        yield drawn


def distributions(
    statistics: Mapping[str, Statistic],
    arrays: Arrays,
    resampling: Resampling,
    redraw_variants: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Return the value of each statistic in every resample: an array (draws,) for each key."""
    values: dict[str, list[float]] = {key: [] for key in statistics}
    for drawn in resamples(arrays, resampling, redraw_variants):
        for key, statistic in statistics.items():
            values[key].append(statistic(drawn))
    return {key: np.array(drawn_values) for key, drawn_values in values.items()}


def item_means(values: NDArray[Any], resampling: Resampling) -> NDArray[np.float64]:
    """Return the means of values (items, columns) over resampled items, (draws, columns).

    This is the fast way for functions of means over items: one matrix product of the number of times that
    each item was drawn and the values.
    """
    items, draws, seed = len(values), resampling.draws, resampling.seed
    counts = _kept_counts(items, draws, seed) if items * draws <= KEPT else _counts(items, draws, seed)
    floats = np.asarray(values, dtype=float)
    return np.concatenate([chunk @ floats / items for chunk in counts])


def _counts(items: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each item was drawn, (CHUNK draws, items)."""
    rng = np.random.default_rng(seed)
    for start in range(0, draws, CHUNK):
        count = min(CHUNK, draws - start)
        rows = rng.integers(items, size=(count, items)) + items * np.arange(count)[:, None]
        yield np.bincount(rows.ravel(), minlength=count * items).reshape(count, items).astype(float)


@lru_cache(maxsize=1)
def _kept_counts(items: int, draws: int, seed: int) -> list[NDArray[np.float64]]:
    """Return `_counts`, kept in memory because all measures use the same draws."""
    return list(_counts(items, draws, seed))


def basic_interval(value: float, drawn: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return 2 value - q(1 - a/2) and 2 value - q(a/2), where q are the quantiles of the draws.

    Davison & Hinkley 1997, Bootstrap Methods and their Application, section 5.2. It corrects the bias
    that the draws show, so the interval of a biased number may lie to one side of it, or not contain it.
    """
    low, high = np.quantile(drawn, tails(confidence))
    return float(2 * value - high), float(2 * value - low)


def centred_interval(value: float, drawn: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the percentile interval of the draws, shifted so that their mean is the value.

    It is for the difference between two runs, whose biases are about equal and cancel. Correcting the rest of
    the bias doubled the false alarms in simulation.
    """
    low, high = np.quantile(drawn - drawn.mean(), tails(confidence))
    return float(value + low), float(value + high)


def tails(confidence: float) -> tuple[float, float]:
    """Return the two quantiles that exclude the same share on both sides."""
    return (1 - confidence) / 2, (1 + confidence) / 2


def expanded(confidence: float, items: int) -> float:
    """Return the level at which the quantiles of resampled items have the given coverage.

    A resample of N items varies too little by the factor sqrt((N - 1) / N), and a mean in units of its
    estimated error has the t distribution (the expanded interval: Hesterberg 2015, doi
    10.1080/00031305.2015.1089789). 95% becomes 95.8% for 50 items and 95.1% for 400.
    """
    if items < 2:
        return confidence
    quantile = sqrt(items / (items - 1)) * t.isf((1 - confidence) / 2, items - 1)
    return float(1 - 2 * norm.sf(quantile))


def intervals(
    statistics: Mapping[str, Statistic],
    arrays: Arrays,
    resampling: Resampling,
    redraw_variants: bool = False,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Interval]:
    """Return each statistic with its basic bootstrap interval.

    statistics: functions of the same mapping as `arrays`, for example
        `{"spread": lambda arrays: spread(arrays["correct"])}`.
    bounds: the least and the greatest possible value. The intervals are clipped to them. Raises ValueError
        for a value outside.
    The ends are NaN if the statistic is NaN in some of the draws.
    """
    drawn = distributions(statistics, arrays, resampling, redraw_variants)
    level = expanded(resampling.confidence, len(next(iter(arrays.values()))))
    estimates = {}
    for key, statistic in statistics.items():
        value = float(statistic(arrays))
        if value < bounds[0] or value > bounds[1]:
            raise ValueError(f"{key}: {value} is not within its bounds {bounds}")
        low, high = np.clip(basic_interval(value, drawn[key], level), *bounds)
        estimates[key] = Interval(value, float(low), float(high))
    return estimates
