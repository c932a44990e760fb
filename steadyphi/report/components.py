"""Where the differences between answers come from: components of variance, and the mixed-effects model."""

from collections.abc import Sequence

from steadyphi.report.figures import Section, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.wording import count, listed, number, percent
from steadyphi.results.experiment import Experiment, MixedModel
from steadyphi.results.result import Decomposition
from steadyphi.stats.crossed import Component

TITLES = {"format": "Named formats", "options": "Listed options"}
NOTE = (
    "The variance of an answer (right or wrong), divided among what was varied, as if each were a random "
    "sample of its kind. A term such as question × format is what holds for single questions in single "
    "formats only; the last one contains chance too. The shares have no intervals, because a few scorers or "
    "orders do not tell how others differ."
)


def section(experiment: Experiment) -> Section | None:
    """Return the components of variance of each run, and the model of both; None if there are none."""
    runs = experiment.runs
    names = [name for name in TITLES if all(_of(run.decompositions, name) for run in runs)]
    if not names:
        return None
    labels = [run.label for run in runs]
    parts = [_shares(TITLES[name], [_of(run.decompositions, name) for run in runs], labels) for name in names]
    parts.append(tag("p", NOTE, class_="quiet"))
    if experiment.mixed:
        parts += _mixed(experiment.mixed)
    return Section("components", "Where the differences come from", join(parts))


def _of(decompositions: Sequence[Decomposition], name: str) -> Decomposition | None:
    return next((each for each in decompositions if each.name == name), None)


def _shares(title: str, of_runs: Sequence[Decomposition | None], labels: Sequence[str]) -> Markup:
    """Return the share of each term in each run; the rows are those of the first."""
    present = [each for each in of_runs if each]
    levels = listed([count(n, factor) for factor, n in present[0].levels.items()])
    shares = [{_term(part): part.share for part in each.components} for each in present]
    rows = [[term, *(percent(of_run.get(term)) for of_run in shares)] for term in shares[0]]
    return table(f"{title}: {levels}", ["share of the variance", *labels], rows)


def _term(component: Component) -> str:
    return " × ".join(component.factors)


def _mixed(model: MixedModel) -> list[Markup]:
    rows = [["fine-tuning", number(model.tuned), ""]]
    rows += [[term, "", number(value)] for term, value in model.deviations.items()]
    caption = (
        f"Mixed-effects logistic model of both runs, in logits: {count(model.questions, 'question')}, "
        f"{count(model.formats, 'format')}"
    )
    note = (
        "The effect of fine-tuning on the log-odds of a right answer to an average question in an average "
        "format, and the standard deviations of questions, formats and combinations. A large one of "
        "fine-tuning × format means that fine-tuning moves some formats much more than others."
    )
    return [table(caption, ["term", "effect", "deviation"], rows), tag("p", note, class_="quiet")]
