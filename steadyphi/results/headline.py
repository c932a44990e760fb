"""The measures of an evaluation over its formats, with intervals where items drawn again give one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.results.cells import Cells
from steadyphi.settings.schema import Evaluate
from steadyphi.stats import agreement, calibration, measures, scorers
from steadyphi.stats.bootstrap import Arrays, Measure, basic_interval, intervals, item_means
from steadyphi.stats.components import variance_components
from steadyphi.stats.heldout import best_and_worst
from steadyphi.stats.measures import Interval
from steadyphi.stats.permutation import variants_differ


def _of_correct(measure: Any) -> Measure:
    return lambda arrays: float(measure(arrays["correct"]))


# Between 0 and 1, and quick enough to be computed for every draw of the bootstrap.
BOUNDED: dict[str, Measure] = {
    "accuracy_mean": _of_correct(np.mean),
    "accuracy_best": lambda arrays: float(arrays["correct"].mean(axis=0).max()),
    "accuracy_worst": lambda arrays: float(arrays["correct"].mean(axis=0).min()),
    "spread": _of_correct(measures.spread),
    "flip_rate": lambda arrays: measures.flip_rate(arrays["chosen"]),
    "consistency": lambda arrays: float(measures.consistency(arrays["chosen"]).mean()),
    "right_in_all_formats": _of_correct(measures.worst_case),
    "right_in_any_format": _of_correct(measures.best_case),
    "saturation": _of_correct(measures.saturation),
    "cps": _of_correct(measures.combined_performance_score),
    "pss": _of_correct(measures.prompt_sensi_score),
    "probability": lambda arrays: float(arrays["probability"].mean()),
}


def _of_places(measure: Callable[..., float]) -> Measure:
    return lambda arrays: measure(arrays["chosen_at"], arrays["right_at"])


# Of variants that list the options and differ in their order alone; see `Cells.positions`.
PLACES: dict[str, Measure] = {
    "position_bias": _of_places(calibration.position_bias),
    "recall_deviation": _of_places(calibration.recall_deviation),
}


def _each(cells: Cells, measure: Callable[[Cells, slice], float]) -> NDArray[np.float64]:
    return np.array([measure(cells, slice(n, n + 1)) for n in range(len(cells.items))])


# Means over items of what is computed within each; not bounded by 1, or too slow to be drawn again whole.
ITEMWISE: dict[str, Callable[[Cells], NDArray[np.float64]]] = {
    "posix": lambda cells: _each(
        cells, lambda c, i: agreement.posix(c.logprobs[i], c.tokens[i], c.chosen[i])
    ),
    "errica_sensitivity": lambda cells: _each(
        cells,
        lambda c, i: agreement.sensitivity(agreement.one_hot(c.chosen[i], c.tokens.shape[-1]), c.choices[i]),
    ),
    "jsd": lambda cells: _each(cells, lambda c, i: agreement.jensen_shannon(c.probabilities[i])),
}


def measure(core: Cells, seen: Sequence[bool], settings: Evaluate) -> dict[str, dict[str, float | None]]:
    """Return every measure of the formats: its value and, where it has one, its interval.

    seen: which of the formats were training styles. docs/metrics.md says what each is.
    """
    found = {
        key: plain(value)
        for key, value in intervals(
            BOUNDED, core.arrays, settings.confidence, settings.draws, settings.seed
        ).items()
    }
    return (
        found | _of_noise(core, settings) | _unseen(core, seen, settings) | _of_probabilities(core, settings)
    )


def _of_noise(core: Cells, settings: Evaluate) -> dict[str, dict[str, float | None]]:
    """Return what is left of the spread once the noise of few items is taken off."""
    if len(core.variants) < 2 or len(core.items) < 2:
        return {}
    parts = variance_components(core.correct, settings.confidence, settings.draws, settings.seed)
    ends = best_and_worst(core.correct, seed=settings.seed)
    return {
        "sigma_format": plain(parts.sigma),
        "spread_corrected": plain(parts.corrected_spread),
        "noise_share": bare(parts.noise_share),
        "p_value": bare(variants_differ(core.correct, settings.draws, settings.seed)),
        "spread_heldout": bare(ends.spread),
        "accuracy_best_heldout": bare(ends.best),
        "accuracy_worst_heldout": bare(ends.worst),
    }


def _unseen(core: Cells, seen: Sequence[bool], settings: Evaluate) -> dict[str, dict[str, float | None]]:
    """Return the spread over the formats that are not training styles, if they are two or more."""
    unseen = [n for n, was in enumerate(seen) if not was]
    if len(unseen) < 2:
        return {}
    some: Arrays = {"correct": core.correct[:, unseen]}
    wanted = {"spread_unseen": BOUNDED["spread"], "accuracy_unseen": BOUNDED["accuracy_mean"]}
    found = intervals(wanted, some, settings.confidence, settings.draws, settings.seed)
    return {key: plain(value) for key, value in found.items()}


def _of_probabilities(core: Cells, settings: Evaluate) -> dict[str, dict[str, float | None]]:
    probabilities = core.probabilities
    confidence = scorers.of_choice(probabilities, core.chosen)
    found = {
        "pss_max": measures.prompt_sensi_score_limit(len(core.variants)),
        "ece": calibration.expected_calibration_error(confidence, core.correct),
    }
    return {key: bare(value) for key, value in found.items()} | {
        key: _mean(itemwise(core), settings) for key, itemwise in ITEMWISE.items()
    }


def _mean(values: NDArray[np.float64], settings: Evaluate) -> dict[str, float | None]:
    """Return the mean over items with its interval."""
    drawn = item_means(values[:, None], settings.draws, settings.seed)[:, 0]
    low, high = basic_interval(float(values.mean()), drawn, settings.confidence)
    return {"value": float(values.mean()), "low": max(0.0, low), "high": high}


def bare(value: float) -> dict[str, float | None]:
    """Return a value that has no interval."""
    return {"value": value, "low": None, "high": None}


def plain(found: Interval) -> dict[str, float | None]:
    """Return a value with its interval; None for ends that are not known."""
    ends = (found.low, found.high) if np.isfinite([found.low, found.high]).all() else (None, None)
    return {"value": found.value, "low": ends[0], "high": ends[1]}


def flat(run: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a run's result for metrics/: its counts and the values of its measures."""
    counts = {key: run[key] for key in ("items", "formats", "chance", "noise_flip_rate")}
    values = {key: found["value"] for key, found in run["measures"].items()}
    return {key: round(value, 6) for key, value in (counts | values).items()}
