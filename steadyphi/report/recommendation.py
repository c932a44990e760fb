"""The prompt to use, ready to be copied, with the expected gain."""

from steadyphi.report import prompts, reading
from steadyphi.report.figures import Section
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.wording import points, points_interval, unsigned_points
from steadyphi.results.experiment import AnswerTable, Experiment
from steadyphi.results.result import Result
from steadyphi.stats.recommendation import Recommendation

PLACE = "{question}"
COMMON = 0.9  # the share of a variant's prompts that must have the same shape for it to be shown


def short(experiment: Experiment) -> Markup | None:
    """Return the prompt for the last run, which people would use, with its gain in a few words."""
    recommended = [(run, run.recommendation) for run in experiment.runs if run.recommendation]
    if not recommended:
        return None
    run, recommendation = recommended[-1]
    text, where = _prompt(run, recommendation, experiment.answers)
    if recommendation.variant == run.default:
        why = f"The default, {run.default}; no other prompt is reliably better."
    else:
        gain = f"{points(recommendation.gain)} points against the default {run.default}"
        why = f"{recommendation.variant}; {gain}."
    return tag(
        "div",
        tag("h2", "The prompt to use"),
        _copyable(text, "prompt"),
        tag("p", why, where, class_="quiet"),
        class_="use",
    )


def section(experiment: Experiment) -> Section | None:
    """Return the recommended prompt of each run that has one; the last run, which one would use, first."""
    several = len(experiment.runs) > 1
    parts = [
        _recommended(run, run.recommendation, experiment.answers, f"prompt-{n}", several)
        for n, run in reversed(list(enumerate(experiment.runs)))
        if run.recommendation
    ]
    return Section("recommended", "The prompt to use", join(parts)) if parts else None


def _recommended(
    run: Result, recommendation: Recommendation, answers: AnswerTable, anchor: str, several: bool
) -> Markup:
    variant = reading.variant(run, recommendation.variant)
    text, where = _prompt(run, recommendation, answers)
    name = tag("code", variant.name)
    return tag(
        "article",
        tag("h3", f"For {reading.model(run)}: ", name) if several else tag("h3", name),
        tag("p", _gain(run.default, recommendation), where),
        _copyable(text, anchor),
        tag("p", "Tokens where prompt and answer meet: ", tag("code", variant.boundary), class_="quiet"),
    )


def _prompt(run: Result, recommendation: Recommendation, answers: AnswerTable) -> tuple[str, str]:
    """Return the prompt and a sentence on where the question stands in it."""
    if shape := _shape(answers, recommendation.variant):
        return shape[0] + PLACE + shape[1], " The question goes in place of {question}."
    return reading.variant(run, recommendation.variant).prompt, " This is the prompt of one question."


def _copyable(text: str, anchor: str) -> Markup:
    shown = prompts.visible(text)
    return tag(
        "div",
        tag("pre", shown, id=anchor, class_="marks", tabindex=0, role="group", aria_label="Prompt"),
        tag("button", "Copy prompt", type="button", class_="copy", data_copy=anchor, hidden=True),
        tag("span", class_="said", role="status"),
        class_="copyable",
    )


def _gain(default: str, recommendation: Recommendation) -> str:
    regret = f"The best of all variants may be better by up to {unsigned_points(recommendation.regret)}."
    if recommendation.variant == default:
        return f"Keep the default format: no variant was found that is reliably better. {regret}"
    return (
        f"Expect {points(recommendation.gain)} points against the default format {default} "
        f"(interval {points_interval(recommendation.low, recommendation.high)}). "
        f"Chosen on {recommendation.chosen_on:,} questions and tested on others, "
        f"{recommendation.tested_on:,} in all. The interval allows for the fact that only large gains are "
        f"recommended, so it may contain 0. {regret}"
    )


def _shape(answers: AnswerTable, name: str) -> prompts.Shape | None:
    """Return the text around the question; None if it differs between questions, as listed options do."""
    if name not in answers.variants:
        return None
    return prompts.shape(answers, answers.variants.index(name), COMMON)
