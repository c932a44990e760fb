"""Single answers, as a table of questions and formats: the data that browser.js reads, and its controls."""

import base64
import itertools
import json
from array import array
from typing import Any

from steadyphi.report import prompts, reading
from steadyphi.report.figures import Section
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.wording import count
from steadyphi.results.experiment import Experiment, QuestionAnswers

MOST = 12_000_000  # bytes of the questions and their answers in the page
STEPS = 255  # probabilities are stored in one byte each


def section(experiment: Experiment) -> Section | None:
    """Return the controls of the table and its data; None without questions."""
    answers = experiment.answers
    if not answers.items:
        return None
    packed, kept = _packed(experiment)
    labels = [run.label for run in experiment.runs]
    left_out = (
        f"The table has the first {count(kept, 'question')} of {len(answers.items):,}; all answers are in "
        "items.csv beside this file."
    )
    body = [
        tag(
            "noscript",
            tag("p", "This part needs JavaScript. The same answers are in items.csv beside this file."),
        ),
        tag("p", left_out, class_="quiet") if kept < len(answers.items) else None,
        tag(
            "form",
            *_controls(labels),
            role="search",
            id="browse",
            hidden=True,
        ),
        tag("div", id="grid", class_="grid"),
        tag("dialog", id="item", aria_label="One answer"),
        tag("script", packed, type="application/json", id="cells"),
    ]
    return Section("items", "Every question in every format", join(body))


def _packed(experiment: Experiment) -> tuple[Markup, int]:
    """Return the data as JSON and the number of its questions; no text in it can close a script element."""
    answers, run = experiment.answers, experiment.runs[0]
    # Most prompts are the same text around another question, so this text is stored once per variant.
    shapes = [prompts.shape(answers, n) for n in range(len(answers.variants))]
    sets = {row.name: of_set for of_set in reading.format_sets(experiment.runs) for row in of_set.rows[0]}
    places = {name: n for n, name in enumerate(sets)}
    named = {row.name: row for row in run.variants}
    variants = [
        {
            "name": name,
            "label": prompts.label(named[name]) if name in named else name,
            "set": sets[name].title if name in sets else "",
            "shape": shape,
        }
        for name, shape in zip(answers.variants, shapes, strict=True)
    ]
    items: list[str] = []
    size = 0
    for item in answers.items:
        text = _safe(_question(item, shapes))
        cells = len(experiment.runs) * len(answers.variants)
        size += len(text) + cells * (4 + 4 * len(item.choices)) // 3  # base64 has 4 letters for 3 bytes
        if items and size > MOST:
            break
        items.append(text)
    kept = answers.items[: len(items)]
    wide = max(len(item.choices) for item in kept) > 256
    head = {
        "default": run.default,
        "runs": [r.label for r in experiment.runs],
        "variants": variants,
        "order": sorted(range(len(variants)), key=lambda n: places.get(answers.variants[n], len(places))),
        "wide": wide,
        "chosen": _chosen(kept, "H" if wide else "B"),
        "shares": _shares(kept),
    }
    return Markup(f'{_safe(head)[:-1]},"items":[{",".join(items)}]}}'), len(items)


def _safe(value: Any) -> str:
    """Return JSON in ASCII without the characters that HTML reads; everything else as \\uXXXX."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _question(item: QuestionAnswers, shapes: list[prompts.Shape | None]) -> dict[str, Any]:
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
        **({"prompts": unusual} if unusual else {}),
    }


def _chosen(items: list[QuestionAnswers], kind: str) -> str:
    """Return the choices as little-endian numbers in base64, by question, run and variant."""
    return _base64(array(kind, [choice for item in items for run in item.runs for choice in run.chosen]))


def _shares(items: list[QuestionAnswers]) -> str:
    """Return the probabilities in steps of 1/255 as bytes in base64, by question, run, variant and choice."""
    rows = (shares for item in items for run in item.runs for shares in run.probabilities)
    return _base64(array("B", [_step(share) for share in itertools.chain.from_iterable(rows)]))


def _step(share: float) -> int:
    return round(STEPS * share) if 0 <= share <= 1 else 0  # not a number: a model that computed none


def _base64(numbers: "array[int]") -> str:
    return base64.b64encode(numbers.tobytes()).decode()


def _controls(labels: list[str]) -> list[Markup]:
    kinds = {"all": "all questions"}
    if len(labels) > 1:
        kinds |= {"changed": "changed by fine-tuning", "gained": "now right", "lost": "now wrong"}
    kinds |= {f"flips-{n}": f"flips between formats, {label}" for n, label in enumerate(labels)}
    kinds |= {f"wrong-{n}": f"wrong, {label}" for n, label in enumerate(labels)}
    kinds["never"] = "never right"
    options = [tag("option", text, value=value) for value, text in kinds.items()]
    return [
        tag("label", "Show ", tag("select", *options, id="show")),
        tag("label", "in ", tag("select", tag("option", "any format", value="-1"), id="where")),
        tag("label", "Search ", tag("input", type="search", id="search", autocomplete="off")),
        tag("span", id="place", role="status", class_="quiet"),
    ]
