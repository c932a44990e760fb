"""How surely: what a number would have been with other items of the same kind.

An item is asked in every variant and its difficulty is in all of its answers, so items are what is drawn
again, whole, with all their variants: a cluster bootstrap. Where the variants are themselves a sample, of a
grammar of formats for instance, and the question is about formats not tried, they can be drawn again too,
independently: the pigeonhole bootstrap (Owen 2007, doi 10.1214/07-AOAS122), whose intervals are a little too
wide rather than too narrow.

A bootstrap of a maximum, as in the spread, adds the noise of the draw to the noise that is there, so its
draws lie too high, by about as much as the number itself lies above the truth. The percentile interval
doubles that error (with 24 equal variants it never contained the true spread of 0). So `intervals` reflects
the draws at the value, the basic interval, which takes most of it away; for means both are nearly the same.
Whether there is any spread at all is a question for `variants_differ` and `variance_components`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.stats.measures import Interval

Arrays = Mapping[str, NDArray[Any]]  # each (items, variants) or (items, variants, more)
Statistic = Callable[[Arrays], float]

CHUNK = 256  # draws whose counts of items are in memory at once


@dataclass(frozen=True)
class Resampling:
    """How intervals and p-values are estimated by resampling.

    confidence: level of the intervals, such as 0.95. draws: number of resamples. seed: of the draws; the same
    seed draws the same items for every run that is compared.
    """

    confidence: float = 0.95
    draws: int = 2000
    seed: int = 0


DEFAULT = Resampling()


def resamples(arrays: Arrays, resampling: Resampling, redraw_variants: bool = False) -> Iterator[Arrays]:
    """Yield the arrays with their items drawn again with replacement, once per draw.

    All arrays get the same items each time, so what is paired stays paired. `redraw_variants` draws the
    variants too. A variant drawn twice agrees with itself: a mean over pairs of T variants (a flip rate) then
    comes out smaller by the factor 1 - 1/T.
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
    """Return means over items drawn again, (draws, columns), of values (items, columns).

    The quick way for whatever is a function of means over items: one matrix product of how often each item
    was drawn with the values.
    """
    rng = np.random.default_rng(resampling.seed)
    items, draws = len(values), resampling.draws
    wanted = np.asarray(values, dtype=float)
    chunks = []
    for start in range(0, draws, CHUNK):
        counts = rng.multinomial(items, np.full(items, 1 / items), size=min(CHUNK, draws - start))
        chunks.append(counts @ wanted / items)
    return np.concatenate(chunks)


def basic_interval(value: float, drawn: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return 2 value - q(1 - a/2) and 2 value - q(a/2), q being the quantiles of what was drawn.

    Davison & Hinkley 1997, Bootstrap Methods and their Application, section 5.2. It corrects for the bias
    that the draws show, so of a biased number it may lie to one side, or end before it.
    """
    low, high = np.quantile(drawn, tails(confidence))
    return float(2 * value - high), float(2 * value - low)


def centred_interval(value: float, drawn: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the percentile interval of the draws, moved so that their mean is the value.

    For the difference between two runs, where the bias of both is about the same and goes away by itself:
    correcting for what is left of it doubled the false alarms in simulation.
    """
    low, high = np.quantile(drawn - drawn.mean(), tails(confidence))
    return float(value + low), float(value + high)


def tails(confidence: float) -> tuple[float, float]:
    """Return the two quantiles that leave the same share outside on both sides."""
    return (1 - confidence) / 2, (1 + confidence) / 2


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
    bounds: the least and the greatest possible value; the intervals are clipped to them. Raises ValueError
        for a value outside.
    The ends are NaN where the statistic is not a number in some of the draws.
    """
    drawn = distributions(statistics, arrays, resampling, redraw_variants)
    estimates = {}
    for key, statistic in statistics.items():
        value = float(statistic(arrays))
        if value < bounds[0] or value > bounds[1]:
            raise ValueError(f"{key}: {value} is not within its bounds {bounds}")
        low, high = np.clip(basic_interval(value, drawn[key], resampling.confidence), *bounds)
        estimates[key] = Interval(value, float(low), float(high))
    return estimates
