"""A row for each variant of an evaluation: how well it does by every scorer, and against the default."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.prompts.seam import audit
from steadyphi.prompts.variants import Variant, render
from steadyphi.results.answers import Asked
from steadyphi.results.cells import Cells
from steadyphi.stats import scorers
from steadyphi.stats.measures import accuracy
from steadyphi.stats.paired import holm, mcnemar, paired_difference

AUDITED = 20  # items whose prompts' ends are looked at


def describe(asked: Asked) -> list[dict[str, Any]]:
    """Return a row a variant, family by family; the p-values are adjusted for all of them together."""
    prompts = {(row["item"], row["variant"]): row["prompt"] for row in asked.scores}
    opened = _opened(asked)
    rows = [row for family in asked.families().values() for row in _family(asked, family, prompts, opened)]
    others = [row for row in rows if row["name"] != asked.default.name]
    for row, p_value in zip(others, holm([row["p_holm"] for row in others]), strict=True):
        row["p_holm"] = p_value
    return rows


def _family(
    asked: Asked,
    family: Sequence[Variant],
    prompts: Mapping[tuple[str, str], str],
    opened: Mapping[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return the rows of one family, over the items that it and the default were asked; p not adjusted."""
    settings, default = asked.settings, asked.default
    both = asked.cells([default, *(v for v in family if v != default)])
    own = [both.variants.index(v.name) for v in family]
    shares = accuracy(both.correct, settings.confidence)
    ranked = _other_scorers(asked, asked.cells(family), family)
    rows = []
    for n, variant in enumerate(family):
        right = both.correct[:, own[n]]
        change = paired_difference(both.correct[:, 0], right, settings.confidence)
        changed = [prompts[i, variant.name] != prompts[i, default.name] for i in both.items]
        rows.append(
            {"name": variant.name, "family": variant.family, "seen": variant.name in settings.styles}
            | {"atoms": variant.atoms, "items": len(both.items), "changed": float(np.mean(changed))}
            | _seam(asked, variant, both)
            | {"accuracy": shares[own[n]].value, "low": shares[own[n]].low, "high": shares[own[n]].high}
            | {name: None if values is None else values[n] for name, values in ranked.items()}
            | opened.get(variant.name, {"open": None})
            | {"change": change.value, "change_low": change.low, "change_high": change.high}
            | {"p_holm": mcnemar(both.correct[:, 0], right)}
        )
    return rows


def _seam(asked: Asked, variant: Variant, both: Cells) -> dict[str, Any]:
    """Return the prompt of one item, where it meets the answer, and how often a token would reach across."""
    some = [item for item in asked.items if item.id in set(both.items[:AUDITED])]
    found = []
    for item in some:
        put = render(variant, item, asked.shots, asked.settings.seed)
        found.append((put.prompt, audit(asked.tokenizer, put.prompt, put.answers[item.answer])))
    merges = float(np.mean([boundary.merges for _, boundary in found]))
    return {"prompt": found[0][0], "boundary": found[0][1].summary, "merges": merges}


def _other_scorers(
    asked: Asked, some: Cells, family: Sequence[Variant]
) -> dict[str, list[float | None] | None]:
    """Return the accuracies by other ways of ranking the choices, None where one is not defined.

    A label is as long as any other, so normalizing by length is for answers that are texts. Batch calibration
    is for classes: choices that all items share, or places where options are shown.
    """
    texts = {item.id: item.choices for item in asked.items}
    normalized = scorers.length_normalized(
        some.logprobs, scorers.byte_lengths([texts[i] for i in some.items])
    )
    batch = None
    if some.places is not None or asked.same_choices:
        batch = scorers.batch_calibrated(some.logprobs, some.places)
    return {
        "normalized": [
            None if variant.options and variant.options.answers == "label" else share
            for variant, share in zip(family, _shares(some, normalized), strict=True)
        ],
        "calibrated": None
        if some.free is None
        else _shares(some, scorers.contextual(some.logprobs, some.free)),
        "batch_calibrated": None if batch is None else _shares(some, batch),
    }


def _shares(some: Cells, scores: NDArray[np.float64]) -> list[float | None]:
    return [float(share) for share in (scorers.choose(scores) == some.answer[:, None]).mean(axis=0)]


def _opened(asked: Asked) -> dict[str, dict[str, Any]]:
    """Return each format's accuracy of open answers, and by log-probability on the same items."""
    names, right = asked.open_cells()
    if not names:
        return {}
    few = {row["item"] for row in asked.written}
    ranked = {
        name: [r["correct"] for r in asked.scores if r["variant"] == name and r["item"] in few]
        for name in names
    }
    return {
        name: {"open": share.value, "open_low": share.low, "open_high": share.high, "open_items": len(right)}
        | {"ranked_on_open_items": float(np.mean(ranked[name]))}
        for name, share in zip(names, accuracy(right, asked.settings.confidence), strict=True)
    }
