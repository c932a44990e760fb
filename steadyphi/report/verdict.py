"""The result in one plain sentence, and the reasons not to rely on it."""

from steadyphi.report import reading
from steadyphi.report.wording import count, percent, unsigned_points
from steadyphi.results.experiment import Experiment
from steadyphi.stats.comparison import MeasureChange


def sentence(experiment: Experiment) -> str:
    """Return the verdict: how much the format matters, and with two runs what fine-tuning changed."""
    changes = reading.changes(experiment)
    if not changes or ("spread_unseen" not in changes and experiment.runs[0].formats < 2):
        return _range(experiment)
    key = next((k for k in ("spread_unseen", "spread") if k in changes), None)
    if key is None:
        return f"{_range(experiment)} Nothing was measured in common before and after."
    return _steadier(experiment, key, changes[key]) + _best(changes.get("accuracy_best")) + "."


def alarms(experiment: Experiment) -> list[str]:
    """Return all alarms and the reasons of a failed gate, each once; alarms of two runs name their run."""
    several = len(experiment.runs) > 1
    sentences = [
        f"{run.label}: {alarm}" if several else alarm for run in experiment.runs for alarm in run.alarms
    ]
    if comparison := experiment.comparison:
        sentences += comparison.alarms
        if not comparison.gate.passed:
            sentences += [f"The gate failed: {reason}" for reason in comparison.gate.reasons]
    return reading.distinct(sentences)


def notes(experiment: Experiment) -> list[str]:
    """Return what the suite asks for and was left out, each once."""
    return reading.distinct(note for run in experiment.runs for note in run.notes)


def gate_failed(experiment: Experiment) -> bool:
    """Return whether there is a gate and it failed."""
    return experiment.comparison is not None and not experiment.comparison.gate.passed


def _range(experiment: Experiment) -> str:
    run = experiment.runs[0]
    worst, best = (percent(run.measures[key].value) for key in ("accuracy_worst", "accuracy_best"))
    asked = f"the same {count(run.items, 'question')}"
    model = reading.model(run)
    if run.formats < 2:
        return f"{_first(model)} gets {best} of {asked} right; one format alone says nothing of steadiness."
    spread = unsigned_points(run.measures["accuracy_best"].value - run.measures["accuracy_worst"].value)
    return (
        f"{_first(model)} gets between {worst} and {best} of {asked} right, depending on the format alone: "
        f"it decides about {spread}."
    )


def _steadier(experiment: Experiment, key: str, change: MeasureChange) -> str:
    """Return what happened to the spread. Its interval says nothing of other seeds of the training."""
    rows = experiment.runs[0].variants
    if key == "spread_unseen":
        where = f"in {count(sum(r.family == 'unseen' for r in rows), 'prompt format')} that it never saw"
    else:
        where = f"in {count(experiment.runs[0].formats, 'prompt format')}"
    before = unsigned_points(change.before).removesuffix(" points")
    values = f"{unsigned_points(change.after)} instead of {before}"
    model = experiment.settings.get("model", "the model")
    if not reliable(change):
        return (
            f"These questions do not show whether fine-tuning makes {model} steadier: {where}, its best and "
            f"worst accuracy differ by {values}"
        )
    how = "much steadier" if change.after < change.before / 2 else "steadier"
    how = how if change.change < 0 else "less steady"
    return f"Fine-tuning makes {model} {how}: {where}, its best and worst accuracy differ by {values}"


def _best(change: MeasureChange | None) -> str:
    if change is None:
        return ""
    size = unsigned_points(abs(change.change))
    if not reliable(change):
        return "; its best named format did not change reliably"
    return f"; its best named format {'loses' if change.change < 0 else 'gains'} {size}"


def reliable(change: MeasureChange) -> bool:
    """Return whether the interval of a change leaves out zero."""
    return change.low is not None and change.high is not None and not change.low <= 0 <= change.high


def _first(text: str) -> str:
    return text[0].upper() + text[1:]
