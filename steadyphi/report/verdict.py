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
    watched = [measure for measure in used_in("verdict") if measure.key in changes]
    if watched:
        runs = " to ".join(run.label for run in experiment.runs)
        verdict.append(f"The changes from {runs} are those of one run; their intervals are over questions.")
    return verdict + [_change(f"the {m.label}", changes[m.key]) for m in watched]


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


def _change(measure: str, change: MeasureChange) -> str:
    """Return the sentence on a change. Its interval says nothing of other seeds of the training."""
    interval = points_interval(change.low, change.high)
    if change.low is not None and change.high is not None and change.low <= 0 <= change.high:
        return (
            f"These questions do not show whether {measure} changed: "
            f"{points(change.change)} points, interval {interval}."
        )
    moved = "rose" if change.change > 0 else "fell"
    size = unsigned_points(abs(change.change))
    sentence = f"{measure} {moved} by {size}" + (f" (interval {interval})." if interval else ".")
    return sentence[0].upper() + sentence[1:]
