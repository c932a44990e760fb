"""The result in a few plain sentences, and the reasons not to rely on it."""

from steadyphi.report import reading
from steadyphi.report.wording import count, percent, points, points_interval, unsigned_points
from steadyphi.results.result import Experiment, Result
from steadyphi.stats.catalogue import used_in
from steadyphi.stats.comparison import MeasureChange


def sentences(experiment: Experiment) -> list[str]:
    """Return the verdict by sentences: the range over formats, the flips and the effect of fine-tuning."""
    base, *others = experiment.runs
    verdict = [_range(base)]
    if base.formats > 1:
        verdict.append(_flips(base))
    for run in others:
        worst, best = _ends(run)
        verdict.append(f"On the same questions, {reading.model(run)} gets between {worst} and {best} right.")
    changes = reading.changes(experiment)
    runs = " to ".join(run.label for run in experiment.runs)
    verdict += [
        _change(runs, f"the {measure.label}", changes[measure.key])
        for measure in used_in("verdict")
        if measure.key in changes
    ]
    return verdict


def alarms(experiment: Experiment) -> list[str]:
    """Return all alarms and the reasons of a failed gate, each once; with two runs, alarms name theirs."""
    several = len(experiment.runs) > 1
    found = [f"{run.label}: {alarm}" if several else alarm for run in experiment.runs for alarm in run.alarms]
    if comparison := experiment.comparison:
        found += comparison.alarms
        if not comparison.gate.passed:
            found += [f"The gate failed: {reason}" for reason in comparison.gate.reasons]
    return reading.distinct(found)


def notes(experiment: Experiment) -> list[str]:
    """Return what the suite asks for and was left out, each once."""
    return reading.distinct(note for run in experiment.runs for note in run.notes)


def _range(run: Result) -> str:
    worst, best = _ends(run)
    others = len(run.variants) - run.formats
    also = f" (and in {count(others, 'other way')})" if others else ""
    default = percent(reading.variant(run, run.default).accuracy)
    return (
        f"Asked {count(run.items, 'question')} in {count(run.formats, 'format')}{also}, "
        f"{reading.model(run)} gets between {worst} and {best} right, depending on the format alone "
        f"({default} in the default format {run.default}); choosing blindly would get {percent(run.chance)}."
    )


def _ends(run: Result) -> tuple[str, str]:
    """Return the accuracy in the worst and in the best format."""
    worst, best = (run.measures[key].value for key in ("accuracy_worst", "accuracy_best"))
    return percent(worst), percent(best)


def _flips(run: Result) -> str:
    return (
        f"Two formats disagree on {percent(run.measures['flip_rate'].value)} of the questions, whereas "
        f"rounding alone changes {percent(run.measures['noise_flip_rate'].value)}."
    )


def _change(runs: str, measure: str, change: MeasureChange) -> str:
    """Return the sentence on a change. Its interval says nothing of other seeds of the training."""
    ends = points_interval(change.low, change.high)
    interval = ends and f"interval over questions {ends}"
    if change.low is not None and change.high is not None and change.low <= 0 <= change.high:
        return (
            f"These questions do not show whether {measure} changed from {runs} in this one run: "
            f"{points(change.change)} points, {interval}."
        )
    moved = "grew" if change.change > 0 else "shrank"
    size = unsigned_points(abs(change.change))
    return f"From {runs}, in this one run, {measure} {moved} by {size}" + (
        f" ({interval})." if interval else "."
    )
