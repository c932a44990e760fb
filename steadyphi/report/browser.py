"""Single questions in all variants: the data that script.js reads, and the controls and place it fills."""

import json
from typing import Any

from steadyphi.report import prompts
from steadyphi.report.figures import Section
from steadyphi.report.markup import Markup, join, tag
from steadyphi.results.result import Experiment, QuestionAnswers


def section(experiment: Experiment) -> Section | None:
    """Return the controls of the browser and its data; None without questions."""
    if not experiment.answers.items:
        return None
    controls = tag("form", *_controls(len(experiment.runs)), role="search", id="browse", hidden=True)
    body = [
        tag(
            "noscript",
            tag("p", "This part needs JavaScript. The same answers are in items.csv beside this file."),
        ),
        controls,
        tag("div", id="item"),
        data(experiment),
    ]
    return Section("items", "Single questions", join(body))


def data(experiment: Experiment) -> Markup:
    """Return the questions as JSON inside a script element; no text in them can close it or open another."""
    answers = experiment.answers
    # Most prompts are the same text around another question, so this text is stored once per variant.
    shapes = [prompts.shape(answers, n) for n in range(len(answers.variants))]
    packed = {
        "default": experiment.runs[0].default,
        "runs": [run.label for run in experiment.runs],
        "variants": [{"name": n, "shape": s} for n, s in zip(answers.variants, shapes, strict=True)],
        "items": [_packed(item, shapes) for item in answers.items],
    }
    text = json.dumps(packed, separators=(",", ":"))  # ASCII: everything else as \uXXXX
    safe = text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
    return tag("script", Markup(safe), type="application/json", id="cells")


def _packed(item: QuestionAnswers, shapes: list[prompts.Shape | None]) -> dict[str, Any]:
    """Return a question; prompts that have their variant's usual shape are left out."""
    unusual = {
        str(n): prompt
        for n, (prompt, shape) in enumerate(zip(item.prompts, shapes, strict=True))
        if shape is None or prompt != shape[0] + item.question + shape[1]
    }
    return {
        "id": item.id,
        "skill": item.skill,
        "question": item.question,
        "choices": item.choices,
        "answer": item.answer,
        "prompts": unusual,
        "runs": [{"chosen": run.chosen, "probability": run.probability} for run in item.runs],
    }


def _controls(runs: int) -> list[Markup]:
    kinds = {
        "all": "all questions",
        "differ": "those that differ between variants",
        **({"runs": "those that the runs answer differently"} if runs > 1 else {}),
        "never": "those never answered right",
    }
    return [
        tag(
            "label",
            "Show ",
            tag("select", *(tag("option", text, value=v) for v, text in kinds.items()), id="show"),
        ),
        tag("label", "Search ", tag("input", type="search", id="search", autocomplete="off")),
        tag("label", tag("input", type="checkbox", id="open"), " open every prompt"),
        tag("label", tag("input", type="checkbox", id="marks", checked=True), " visible white space"),
        tag(
            "div",
            tag("button", "Previous", type="button", id="previous"),
            tag("button", "Next", type="button", id="next"),
            tag("span", id="place", role="status"),
            class_="steps",
        ),
    ]
