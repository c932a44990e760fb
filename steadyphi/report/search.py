"""The search for the best and the worst of many drawn formats: its result and the answers it saved."""

from steadyphi.prompts.formats import visible
from steadyphi.report import reading
from steadyphi.report.figures import Section, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.wording import percent, share_interval, unsigned_points
from steadyphi.results.experiment import Experiment
from steadyphi.results.result import Result, SearchResult
from steadyphi.stats.interval import Interval


def section(experiment: Experiment) -> Section | None:
    """Return the result of each run's search; None without a search."""
    parts = [_article(run, run.search) for run in experiment.runs if run.search]
    return Section("ends", "The best and the worst of many formats", join(parts)) if parts else None


def _article(run: Result, search: SearchResult) -> Markup:
    model = reading.model(run)
    text = (
        f"For {model}, {search.cells:,} of {search.grid:,} answers were scored, "
        f"{search.grid / search.cells:.1f} times fewer than asking all questions in all {search.formats} "
        "formats. The two formats found differ by "
        f"{unsigned_points(search.best.accuracy - search.worst.accuracy)} on these questions. "
        "A model of the answers estimates the spread of all formats as "
        f"{unsigned_points(search.spread.value)}; in {run.confidence:.0%} of its draws it is "
        f"{_ends(search.spread)}. "
        "This is no confidence interval: the estimate is too high where formats hardly differ, and too low "
        "where their parts tell nothing about them. On other questions like these, the model expects the "
        f"best format to be better than the worst by {unsigned_points(search.expected.value)} "
        f"({_ends(search.expected)} in {run.confidence:.0%} of its draws)."
    )
    ends = {"best": search.best, "worst": search.worst}
    rows = [
        (kind, end.name, percent(end.accuracy), share_interval(end.low, end.high))
        for kind, end in ends.items()
    ]
    shown = [
        tag(
            "pre",
            visible(end.prompt),
            class_="marks",
            tabindex=0,
            role="group",
            aria_label=f"The {kind}",
        )
        for kind, end in ends.items()
    ]
    heads = ("", "Format", "Accuracy", "Interval")
    return tag("article", tag("p", text), table(f"Found for {model}", heads, rows, words=2), *shown)


def _ends(interval: Interval) -> str:
    return f"{unsigned_points(interval.low).removesuffix(' points')} to {unsigned_points(interval.high)}"
