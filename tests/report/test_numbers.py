"""Every table and chart of the page shows the numbers of the result, each at its place."""

import html
import re
from dataclasses import replace

import pytest

from steadyphi.report import page, reading
from steadyphi.results.experiment import Experiment
from steadyphi.results.result import VariantRow
from tests.report import example
from tests.report.example import FORMATS, ITEMS


@pytest.fixture(scope="module")
def whole() -> Experiment:
    return example.experiment()


@pytest.fixture(scope="module")
def text(whole: Experiment) -> str:
    return page.render(whole)


def plain(markup: str) -> str:
    return html.unescape(re.sub("<[^>]+>", "", markup))


def table(text: str, caption: str) -> list[list[str]]:
    """Return the cells of the table of that name, its head first."""
    body = text.split(f"<caption>{caption}</caption>")[1].split("</table>")[0]
    return [
        [plain(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in body.split("</tr>")[:-1]
    ]


def lane(text: str, section: str, name: str) -> tuple[str, str, list[str]]:
    """Return the title, the detail and the figures of a row of a section's first chart."""
    body = text.split(f'<section id="{section}"')[1]
    row = next(r for r in body.split('<div class="row')[1:] if f'<span class="label">{name}</span>' in r)
    title, detail = (re.findall(f"<{tag}>(.*?)</{tag}>", row)[0] for tag in ("title", "desc"))
    figures = re.findall(r'<span class="run\d">(.*?)</span>', row.split('<span class="values"')[1])
    return plain(title), plain(detail), figures


def share(value: float) -> str:
    return f"{100 * value:.1f}%"


def change(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")


def variant(whole: Experiment, run: int, name: str) -> VariantRow:
    return next(row for row in whole.runs[run].variants if row.name == name)


def test_variants(text: str, whole: Experiment) -> None:
    rows = table(text, "Every variant in every run")
    assert rows[0][3:6] == [
        "log-probability",
        "normalized by length",
        "generated text",
    ]  # the scorers that were used
    v = variant(whole, 1, "qa")
    assert v.normalized is not None and v.open is not None
    shares = [share(value) for value in (v.accuracy, v.normalized, v.open.accuracy)]
    bounds = f"{share(v.low)} to {share(v.high)}"
    assert ["qa", "format", "tuned", *shares, bounds, str(v.items), v.boundary] in rows
    assert len(rows) == 1 + 2 * len(whole.runs[0].variants)


def test_changes_of_the_families(text: str, whole: Experiment) -> None:
    name = next(
        row.name
        for row in whole.runs[0].variants
        if row.family not in ("format", "unseen") and row.p_holm < 0.05
    )
    rows = [variant(whole, run, name) for run in (0, 1)]
    title, detail, figures = lane(text, "families", name)
    values = [change(v.change) for v in rows]
    assert title == f"{name}: base {values[0]}, tuned {values[1]}"
    assert f"base {change(rows[0].change_low)} to {change(rows[0].change_high)}" in detail
    stars = ["*" if v.p_holm < 0.05 else "" for v in rows]
    assert figures == [value + star for value, star in zip(values, stars, strict=True)] and "*" in stars
    v = rows[1]
    bounds = f"{change(v.change_low)} to {change(v.change_high)}"
    row = [name, v.family, "tuned", share(v.accuracy), values[1], bounds, f"{v.p_holm:.3g}"]
    assert row in table(text, "Change against the default format")
    drawn = text.split('<span class="label">noise-typos-0.1</span>')[1].split("<svg")[0]
    assert plain(drawn) == "in 85.0% of questions" and text.count("% of questions<") == 1


def test_effects_of_atoms(text: str) -> None:
    assert lane(text, "atoms", "newline")[2] == ["−10.0", "−5.0"]
    rows = table(text, "Effects of the formats' atoms, in points of accuracy".replace("'", "&#x27;"))
    assert ["end", "nothing", "tuned", "+6.0", "+3.0 to +9.0", "8"] in rows
    assert ["separator", ":␣", "base", "+12.0", "+9.0 to +15.0", "8"] in rows


def test_what_is_said_of_effects_and_options(text: str) -> None:
    assert "For the base model these effects together explain 83.1% of the variance between formats." in text
    assert "cannot tell the effects of end and case from those of others" in text
    rows = table(text, "Listed options: does their order matter?")
    bias = "12.0%unbiased: 3.1%"
    deviation = "7.0 pointsunbiased: 4.4 points"
    assert rows[1] == ["A.-newline", "base", "60.0%", "30.0%", bias, deviation, "3"]


def test_long_prompts(text: str, whole: Experiment) -> None:
    base, tuned = (run.long for run in whole.runs)
    assert base and tuned
    recall = next(row for row in base.needle if (row.length, row.depth) == (256, 0.75))
    bounds = f"{share(recall.low)} to {share(recall.high)}"
    row = ["256", "75%", share(recall.share), bounds, "50.0%", "20"]
    assert row in table(text, "Recall by depth and length")
    title = f'title="256 tokens, depth 75%: {row[2]} (interval {bounds}) of 20; exact match 50.0%"'
    assert text.split(title)[1].split("</td>")[0].endswith(f">{100 * recall.share:.0f}")
    rule = next(row for row in tuned.rules if (row.length, row.kind) == (512, "around"))
    row = [
        "around",
        "512",
        "tuned",
        share(rule.share),
        f"{share(rule.low)} to {share(rule.high)}",
        "20",
    ]
    assert row in table(text, "Rules that are followed, by the position of the instruction")
    assert ["misread", "21", "12"] in table(text, "Failures by cause")
    assert "Causes of failures (45 failures of base, 32 failures of tuned)" in text
    assert "Recall of the base model does not hold even at the shortest length" in text
    assert (
        "Recall of the fine-tuned model holds up to 256 tokens; in the middle of a prompt it is −22.0" in text
    )


def test_distribution(text: str, whole: Experiment) -> None:
    quantiles = whole.runs[1].quantiles
    assert ["tuned", *map(share, quantiles.values())] in table(text, "Quantiles of accuracy over formats")
    spoken = [v.open.accuracy for v in whole.runs[0].variants if v.open]
    rows = table(text, "Worst and best format under each scorer")
    assert ["generated text", "base", share(min(spoken)), share(max(spoken))] in rows


def test_formats_of_the_grammar_have_a_strip_of_their_own() -> None:
    whole = example.experiment(runs=1)
    run = whole.runs[0]
    drawn = [
        replace(run.variants[0], name=f"g{n}", family="grammar", accuracy=n / 10, open=None) for n in range(3)
    ]
    text = page.render(replace(whole, runs=[replace(run, variants=run.variants + drawn)]))
    assert ["drawn by grammar", "base", "0.0%", "20.0%"] in table(
        text, "Worst and best format under each scorer"
    )
    named = [row.accuracy for row in run.variants if row.family == "format"]
    title, detail, _ = lane(text, "distribution", "log-probability")
    assert title == f"log-probability: base from {share(min(named))} to {share(max(named))}"
    assert detail == f"base median {share(run.quantiles['50'])}"


def test_skills_and_comparison(text: str, whole: Experiment) -> None:
    cells = [row.accuracy for row in whole.runs[0].skills if row.variant == "alpaca"]
    assert ["alpaca", *map(share, cells)] in table(text, "Accuracy by format and skill")
    assert whole.comparison
    variants = whole.comparison.variants
    v = next(v for v in variants if v.name == "alpaca")
    bounds = f"{change(v.low)} to {change(v.high)}"
    row = ["alpaca", share(v.before), share(v.after), change(v.change), bounds, "0.04"]
    assert row in table(text, "Change of every format")
    better = sum(v.change > 0 for v in variants)
    assert f"{better} of {len(variants)} formats became better" in text


def test_what_changed_besides_the_formats(text: str, whole: Experiment) -> None:
    rows = table(text, "Change of other variants and long prompts")
    assert whole.comparison
    families = whole.comparison.families
    assert rows[0][2:5] == ["base", "tuned", "change"]
    measure = next(family for family in families if family.name == "noise").measures[0]
    assert measure.low is not None and measure.high is not None
    values = [share(measure.before), share(measure.after)]
    moved, low, high = (change(value) for value in (measure.change, measure.low, measure.high))
    interval, q_value = f"{low} to {high} points", f"{measure.q_value:.3g}"
    row = ["noise", "Mean accuracy", *values, f"{moved} points", interval, q_value, "60", "4"]
    assert row in rows and len(rows) == 1 + sum(len(family.measures) for family in families)
    drawn = text.split("Noise in the question: 60 questions, 4 variants</p>")[1].split("row group")[0]
    title = f"<title>Mean accuracy: base {values[0]}, tuned {values[1]}, {moved} points</title>"
    assert title in drawn and f"<desc>interval: {low} to {high} points</desc>" in drawn
    assert re.findall(r'<span class="run\d">(.*?)</span>', drawn)[:2] == [
        values[0],
        values[1] + "*" * (q_value == "0.002"),
    ]
    assert text.count("*</span>") > 2 and "A star marks changes" in text
    assert text.count("Long prompts: 20 questions at each length and depth") == 1
    assert "Order of the options A.-newline: 60 questions, 4 variants" in text


def test_regret_and_gate(text: str) -> None:
    assert "The best of all variants may be better by up to 3.2 points." in text
    assert "The gate is passed" in text and "(mean accuracy over formats, accuracy in the best" in text


def test_what_a_search_found(text: str, whole: Experiment) -> None:
    words = plain(text)
    assert "16,000 of 128,000 answers were scored, 8.0 times fewer" in words
    assert "The two formats found differ by 41.0 points on these questions." in words
    assert (
        "as 41.2 points; in 95% of its draws it is 38.0 to 44.0 points. This is no confidence interval"
        in words
    )
    assert "the worst by 39.0 points (" in words
    rows = table(text, f"Found for {reading.model(whole.runs[0])}")
    assert rows[1][:3] == ["best", "drawn-best", "81.0%"] and rows[2][:3] == ["worst", "drawn-worst", "40.0%"]
    assert "Q:␣Which?" in text


def test_what_was_left_out_is_said(text: str) -> None:
    assert "Left out: long prompts of 9999 tokens: more than the model's context of 512." in plain(text)


def test_where_the_differences_come_from(text: str, whole: Experiment) -> None:
    rows = table(text, f"Named formats: {ITEMS} questions, 3 scorers and {len(FORMATS)} formats")
    assert rows[0] == ["share of the variance", "base", "tuned"]
    assert rows[3] == ["format", "12.0%", "2.0%"] and rows[4][0] == "question × scorer × format"
    assert table(text, f"Listed options: {ITEMS} questions and 3 orders")[2] == [
        "question × order",
        "60.0%",
        "60.0%",
    ]
    model = table(
        text,
        f"Mixed-effects logistic model of both runs, in logits: {ITEMS} questions, {len(FORMATS)} formats",
    )
    assert model[1:] == [
        ["fine-tuning", "1.27", ""],
        ["question", "", "1.7"],
        ["fine-tuning × format", "", "0.94"],
    ]
    alone = page.render(example.experiment(1))
    assert "Named formats: " in alone and "logistic model" not in alone
