"""The change that a training makes, over other seeds of the training and other items.

The interval of one run's change speaks of other items only. Another seed gives another model, whose measure
differs by an unknown amount. With S seeds, the estimate is the mean of their changes, and its error has two
independent parts:

- the items: all seeds answer the same ones, so they are resampled for the base and for all seeds together;
- the seeds: the mean of S changes whose standard deviation is s has the standard error s / sqrt(S). Its
  error, in units of this estimate, has the t distribution with S - 1 degrees of freedom. Resampling S seeds
  instead would make the interval too narrow: by sqrt((S - 1) / S), and for 5 seeds also by 2.0 / 2.8.

Each draw adds an error of the first part and one of the second. s contains some noise of the items as well,
so the intervals are slightly too wide rather than too narrow, as those of the pigeonhole bootstrap of both
factors are (Owen 2007, doi 10.1214/07-AOAS122). `benchmarks/seeds.py` measures how often they hold.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.bootstrap import DEFAULT, Resampling, expanded
from steadyphi.stats.changes import Drawn, errors_of_run
from steadyphi.stats.estimate import Measure
from steadyphi.stats.interval import Interval

Correct = NDArray[np.bool_]


def change_over_seeds(
    measure: Measure, base: Correct, tuned: Correct, resampling: Resampling = DEFAULT
) -> Interval:
    """Return the mean change of a measure over seeds of a training, with its interval over seeds and items.

    measure: of the catalogue, computed from `correct` alone, such as `accuracy_mean`, `accuracy_best`,
        `accuracy_worst` or `spread`.
    base: (items, variants), asked the same items as the tuned models; or (seeds, items, variants) if each
        seed draws items of its own.
    tuned: (seeds, items, variants). With two seeds, the interval is very wide.
    Raises SteadyPhiError for fewer than two seeds, for shapes that do not match, and for another measure.
    """
    _check(measure, base, tuned)
    seeds, items = tuned.shape[:2]
    shared = base.ndim == 2
    bases = np.broadcast_to(base, tuned.shape)
    changes = np.array(
        [_value(measure, now) - _value(measure, was) for was, now in zip(bases, tuned, strict=True)]
    )
    of_seeds = changes.std(ddof=1) / np.sqrt(seeds) * _t_draws(seeds - 1, resampling)
    was = _mean_errors(measure, bases[:1] if shared else bases, resampling)
    ways = [now - was_ for was_, now in product(was, _mean_errors(measure, tuned, resampling))]
    # Where each seed has items of its own, their noise is part of the deviation between seeds already. What
    # is left is the bias of the measure.
    errors = [of_seeds + (way if shared else way.mean()) for way in ways]
    drawn = Drawn(float(changes.mean()), errors)
    width = measure.bounds[1] - measure.bounds[0]
    low, high = np.clip(drawn.interval(expanded(resampling.confidence, items)), -width, width)
    return Interval(drawn.change, float(low), float(high))


def _mean_errors(measure: Measure, runs: Correct, resampling: Resampling) -> list[NDArray[np.float64]]:
    """Return the mean over runs (runs, items, variants) of the error in each draw, by each method."""
    of_runs = [errors_of_run(measure, {"correct": run}, resampling) for run in runs]
    return [np.mean(errors, axis=0) for errors in zip(*of_runs, strict=True)]


def _t_draws(freedom: int, resampling: Resampling) -> NDArray[np.float64]:
    """Return draws of the t distribution, (draws,): its quantiles at even steps, in random order."""
    quantiles: NDArray[np.float64] = t.ppf((np.arange(resampling.draws) + 0.5) / resampling.draws, freedom)
    return np.random.default_rng([resampling.seed, freedom]).permutation(quantiles)


def _value(measure: Measure, correct: Correct) -> float:
    return measure.value({"correct": correct})


def _check(measure: Measure, base: Correct, tuned: Correct) -> None:
    if measure.arrays != ("correct",) or measure.kind not in ("bootstrap", "item mean"):
        raise SteadyPhiError(
            f"{measure.key}: has no interval over seeds; choose a measure of right answers, such as spread"
        )
    if tuned.ndim != 3 or len(tuned) < 2:
        raise SteadyPhiError(
            f"tuned has the shape {tuned.shape}; give (seeds, items, variants) with at least two seeds, "
            "because one says nothing of others"
        )
    if base.shape not in (tuned.shape, tuned.shape[1:]):
        raise SteadyPhiError(f"base has the shape {base.shape}, tuned {tuned.shape}; ask all the same")
