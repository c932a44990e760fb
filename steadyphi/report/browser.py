"""Single questions in all variants: the data that the page carries, and the place that script.js fills."""

import json
import math
from collections.abc import Mapping
from typing import Any

from steadyphi.report import prompts, reading
from steadyphi.report.figures import Section
from steadyphi.report.markup import Markup, join, tag
from steadyphi.report.reading import Result

DIGITS = 4  # of a probability


def section(result: Result) -> Section | None:
    """Return the controls of the browser and its data; None where no items are handed in."""
    cells = result.get("cells")
    if not cells or not cells["items"]:
        return None
    controls = tag("form", *_controls(len(result["runs"])), role="search", id="browse", hidden=True)
    body = [
        tag(
            "noscript",
            tag("p", "This part needs JavaScript. The same answers stand in items.csv beside this file."),
        ),
        controls,
        tag("div", id="item"),
        data(result),
    ]
    return Section("items", "Single questions", join(body))


def data(result: Result) -> Markup:
    """Return the items as JSON within the page; nothing in it can end the element or begin another."""
    cells = result["cells"]
    # Most prompts are the same text around another question, so that text is kept once a variant.
    shapes = [prompts.shape(cells, n) for n in range(len(cells["variants"]))]
    packed = {
        "default": result["runs"][0]["default"],
        "runs": [reading.label(run) for run in result["runs"]],
        "variants": [{"name": n, "shape": s} for n, s in zip(cells["variants"], shapes, strict=True)],
        "items": [_packed(item, shapes) for item in cells["items"]],
    }
    text = json.dumps(packed, separators=(",", ":"))  # ASCII: everything else as \uXXXX
    safe = text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
    return tag("script", Markup(safe), type="application/json", id="cells")


def _packed(item: Mapping[str, Any], shapes: list[prompts.Shape | None]) -> dict[str, Any]:
    """Return an item whose prompts are left out wherever they have their variant's usual shape."""
    unusual = {
        str(n): prompt
        for n, (prompt, shape) in enumerate(zip(item["prompts"], shapes, strict=True))
        if shape is None or prompt != shape[0] + item["question"] + shape[1]
    }
    runs = [
        {"chosen": run["chosen"], "probability": [_rounded(p) for p in run["probability"]]}
        for run in item["runs"]
    ]
    return {
        **{k: item[k] for k in ("id", "skill", "question", "choices", "answer")},
        "prompts": unusual,
        "runs": runs,
    }


def _rounded(probability: float | None) -> float | None:
    """Return it with few digits, and None for what is not a number, which JSON does not have."""
    return round(probability, DIGITS) if probability is not None and math.isfinite(probability) else None


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
