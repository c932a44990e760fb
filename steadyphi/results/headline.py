"""The measures of an evaluation: the arrays for each scope of the catalogue, and the estimates."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from steadyphi.results.answers import EvaluationAnswers
from steadyphi.results.panel import panel_correct
from steadyphi.results.result import Estimate, Result
from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.catalogue import of_scope, used_in
from steadyphi.stats.comparison import MeasureChange
from steadyphi.stats.estimate import Kind, Scope, estimate
from steadyphi.stats.interval import Interval
from steadyphi.stats.scorers import choose

NEWLINE = ("phi2-newline", "phi2")  # the same prompt with and without a newline at its end
OTHERS: tuple[Scope, ...] = ("grammar", "perturbations", "classes", "open answers")
SCOPES: tuple[tuple[Scope, tuple[Kind, ...]], ...] = (
    ("formats", ("bootstrap",)),
    ("several formats", ("own interval", "resampled")),
    ("unseen formats", ("bootstrap",)),
    ("formats", ("value", "item mean")),
    *((scope, get_args(Kind)) for scope in OTHERS),
)


def measure(answers: EvaluationAnswers, resampling: Resampling) -> dict[str, Estimate]:
    """Return the estimates, by key, of all measures of the catalogue that these answers allow."""
    estimates: dict[str, Interval] = {}
    for scope, kinds in SCOPES:
        if arrays := scope_arrays(scope, answers):
            readable = [m for m in of_scope(scope, kinds=kinds) if set(m.arrays) <= arrays.keys()]
            estimates |= estimate(readable, arrays, resampling)
    return {key: bounded(interval) for key, interval in estimates.items()}


def scope_arrays(scope: Scope, answers: EvaluationAnswers) -> Mapping[str, NDArray[Any]] | None:
    """Return the arrays that the measures of a scope read, or None if the answers do not cover the scope."""
    families = answers.families()
    formats = answers.cells(families["format"])
    if scope == "formats":
        return formats.arrays
    if scope == "several formats":
        return formats.arrays if min(formats.correct.shape) > 1 else None
    if scope == "unseen formats":
        return _unseen_arrays(answers) if len(families.get("unseen", [])) > 1 else None
    if scope == "grammar":
        return answers.cells(families["grammar"]).arrays if "grammar" in families else None
    if scope == "perturbations":
        noise = families.get("noise")
        return answers.cells([answers.default, *noise]).against_default if noise else None
    if scope == "classes":
        return formats.arrays if answers.same_choices else None
    return _open_arrays(answers)


def _unseen_arrays(answers: EvaluationAnswers) -> Mapping[str, NDArray[Any]]:
    unseen = answers.cells(answers.families()["unseen"])
    arrays = dict(unseen.arrays)
    if (averaged := panel_correct(answers, "unseen")) is not None:
        arrays["panel_correct"] = averaged
    if unseen.begun is not None:
        arrays["begun_correct"] = choose(unseen.begun) == unseen.answer[:, None]
    return arrays


def _open_arrays(answers: EvaluationAnswers) -> Mapping[str, NDArray[Any]] | None:
    names, correct = answers.open_cells()
    if not names or answers.settings.open is None:
        return None
    limit = answers.settings.open.max_new_tokens
    lengths = {
        name: np.array([row["tokens"] for row in answers.written if row["variant"] == name]) for name in names
    }
    arrays = {"correct": correct, "cut_short": np.concatenate([n >= limit for n in lengths.values()])}
    if set(NEWLINE) <= set(names):
        arrays |= {"lengths": lengths[NEWLINE[0]], "reference_lengths": lengths[NEWLINE[1]]}
    return arrays


def bounded(interval: Interval) -> Estimate:
    """Return an interval as an estimate. Its ends are None if they are not finite."""
    if not np.isfinite([interval.low, interval.high]).all():
        return Estimate(interval.value)
    return Estimate(interval.value, interval.low, interval.high)


def flat(result: Result) -> dict[str, float]:
    """Return the numbers of a result for metrics/: its counts and the values of its measures."""
    counts = {
        "items": result.items,
        "formats": result.formats,
        "chance": result.chance,
    }
    values = {key: estimate.value for key, estimate in result.measures.items()}
    return {key: round(value, 6) for key, value in (counts | values).items()}


def q_values(changes: Sequence[MeasureChange]) -> dict[str, float]:
    """Return the q-values of the changes of the summary's measures, flat; see `stats.comparison.adjusted`."""
    known = {row.key: row.q_value for row in changes if row.q_value is not None}
    return {f"{m.key}_q": round(known[m.key], 6) for m in used_in("summary") if m.key in known}


def summarize(base: Mapping[str, float], tuned: Mapping[str, float]) -> dict[str, float]:
    """Return the summary's measures of both evaluations and their differences (tuned minus base), flat."""
    summary: dict[str, float] = {}
    for key in (m.key for m in used_in("summary") if m.key in base and m.key in tuned):
        summary[f"{key}_base"], summary[f"{key}_tuned"] = base[key], tuned[key]
        summary[f"{key}_change"] = round(tuned[key] - base[key], 6)
    return summary
