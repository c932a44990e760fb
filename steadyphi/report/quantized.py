"""What the weights in eight and four bits cost: in accuracy, and in the spread between formats."""

from steadyphi.report import families, reading
from steadyphi.report.figures import Section, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.wording import percent
from steadyphi.results.experiment import Experiment
from steadyphi.results.result import Result


def section(experiment: Experiment) -> Section | None:
    """Return a table for each run that was measured with quantized weights; None if none was."""
    parts = [_article(run) for run in experiment.runs if run.quantized]
    return Section("quantized", "With quantized weights", join(parts)) if parts else None


def _article(run: Result) -> Markup:
    model = reading.model(run)
    changed = ", ".join(f"{percent(row.changed)} with {row.bits}-bit weights" for row in run.quantized)
    text = f"Of the answers of {model} in the named formats, these are others than before: {changed}."
    rows = [(f"{row.bits}-bit", *families.texts(change)) for row in run.quantized for change in row.measures]
    heads = ("weights", "measure", "before", "quantized", "change", "interval")
    return tag("article", tag("p", text), table(f"Quantized weights of {model}", heads, rows, words=2))
