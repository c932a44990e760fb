"""The search for the best and the worst of many drawn formats: its result and the answers it saved."""

from steadyphi.prompts.formats import visible
from steadyphi.report import reading
from steadyphi.report.figures import Section, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.wording import percent, share_interval, unsigned_points
from steadyphi.results.result import Experiment, Result, SearchResult
from steadyphi.stats.measures import Interval


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
        f"A model of the answers estimates the spread of all formats as {_points(search.spread)}; this "
        f"{run.confidence:.0%} interval is {unsigned_points(search.spread.high - search.spread.low)} wide. "
        "Where formats hardly differ, the estimate is too high. On other questions like these, the best "
        "format is expected to be better than the worst by "
        f"{_points(search.expected)}."
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


def _points(interval: Interval) -> str:
    low, high = (unsigned_points(end).removesuffix(" points") for end in (interval.low, interval.high))
    return f"{unsigned_points(interval.value)} ({low} to {high})"
