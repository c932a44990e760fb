"""Evaluations read back from their folders: two side by side, and the whole that a report shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from steadyphi.data.tables import read_items, read_table
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.item import Item
from steadyphi.results import families as beyond
from steadyphi.results.cells import SCORES, Cells, asked_in_all, cells
from steadyphi.results.headline import BOUNDED, ITEMWISE
from steadyphi.stats.comparison import compare, mean_change, measure_changes

NEEDED = {"variants", "options", "default", "confidence", "draws", "seed", "scorer"}


@dataclass(frozen=True)
class Evaluation:
    """What `running.Outcome.write` left in a folder."""

    result: dict[str, Any]
    rows: list[dict[str, Any]]
    items: list[Item]
    long: list[dict[str, Any]]

    @property
    def formats(self) -> list[str]:
        """The names of the formats, the default first."""
        return [row["name"] for row in self.result["variants"] if row["family"] == "format"]


def read(folder: Path) -> Evaluation:
    """Read an evaluation; SteadyPhiError when the folder is none."""
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SteadyPhiError(
            f"{path}: {error.strerror}; an evaluation is a folder such as artifacts/scores/base, of dvc repro"
        ) from None
    except ValueError as error:
        raise SteadyPhiError(f"{path}: not JSON ({error}); run dvc repro") from None
    rows = read_table(folder / "scores.parquet")
    if not isinstance(result, dict) or NEEDED - set(result) or (rows and set(SCORES.names) - set(rows[0])):
        raise SteadyPhiError(f"{folder}: is no evaluation of this version; run dvc repro")
    return Evaluation(result, rows, read_items(folder / "items.parquet"), read_table(folder / "long.parquet"))


class _Both:
    """Two evaluations and what they share.

    items: the questions that both have. same: the variants that put all of these alike in both.
    """

    def __init__(self, before: Evaluation, after: Evaluation) -> None:
        self.before, self.after = before, after
        own, other = ({item.id: item for item in one.items} for one in (before, after))
        self.items = [i for i in own if i in other and own[i] == other[i]]
        known = set(self.items)
        was, now = (
            {(row["item"], row["variant"]): row["prompt"] for row in one.rows if row["item"] in known}
            for one in (before, after)
        )
        shared = [key for key in was if key in now]
        self.same = {variant for _, variant in shared} - {key[1] for key in shared if was[key] != now[key]}

    def names(self, family: str) -> list[str]:
        """Return the variants of a family that both have, in the order of the first."""
        rows = self.before.result["variants"]
        return [row["name"] for row in rows if row["family"] == family and row["name"] in self.same]

    def cells(self, names: Sequence[str]) -> tuple[Cells, Cells] | None:
        """Return the cells of both over the items that both were asked in all of these; None if none."""
        runs = (self.before, self.after)
        asked = [set(asked_in_all(one.rows, names)) for one in runs]
        items = [i for i in self.items if all(i in some for some in asked)]
        if not names or not items:
            return None
        was, now = (cells(one.rows, names, items, one.result["scorer"]) for one in runs)
        return was, now


def side_by_side(before: Evaluation, after: Evaluation) -> dict[str, Any]:
    """Compare two evaluations on what both asked in the same words; see `comparison.compare`.

    Beside its keys, which are about the formats, `items` says on how many questions, and `beyond` is about
    the other families, listed options and long prompts (docs/metrics.md).
    Raises SteadyPhiError when they have none in common, or ranked choices by different scorers.
    """
    settings = before.result
    if settings["scorer"] != after.result["scorer"]:
        raise SteadyPhiError(
            f"one evaluation ranks choices by scorer {settings['scorer']}, the other by "
            f"{after.result['scorer']}; give both the same evaluate.scorer"
        )
    both = _Both(before, after)
    names = both.names("format")
    pair = both.cells(names)
    if not pair:
        raise SteadyPhiError(
            "the two evaluations have no format or no question in common (with the same choices); "
            "compare those of one task, file and seed"
        )
    was, now = pair
    drawn = {key: settings[key] for key in ("confidence", "draws", "seed")}
    found = compare(was.arrays, now.arrays, names, BOUNDED, **drawn)
    for key, measure in ITEMWISE.items():
        found["measures"].append({"key": key, **mean_change(measure(was), measure(now), **drawn)})
    return {"items": len(was.items), **found, "beyond": _beyond(both, partial(measure_changes, **drawn))}


def _beyond(both: _Both, changes: beyond.Changes) -> list[dict[str, Any]]:
    default, result = both.before.result["default"], both.before.result
    families = dict.fromkeys(row["family"] for row in result["variants"] if row["family"] != "format")
    found = []
    for family in families:
        names = both.names(family)
        if names and default in both.same and (pair := both.cells([default, *names])):
            found.append(beyond.family(family, *pair, changes))
    for row in result["options"]:
        names = [name for name in row.get("variants", []) if name in both.same]  # older results name none
        if len(names) > 1 and (pair := both.cells(names)):
            found.append(beyond.orders(row["style"], *pair, changes))
    return found + beyond.long(both.before.long, both.after.long, changes)


def whole(experiment: Mapping[str, Any], runs: Sequence[Evaluation]) -> dict[str, Any]:
    """Return all that a report shows of one or two evaluations of the same items, as plain JSON."""
    return {
        "experiment": dict(experiment),
        "runs": [one.result for one in runs],
        "comparison": side_by_side(runs[0], runs[1]) if len(runs) == 2 else None,
        "cells": _browsed(runs),
    }


def _browsed(runs: Sequence[Evaluation]) -> dict[str, Any]:
    """Return every item that all runs asked, with its prompts and answers in all formats."""
    names = runs[0].formats
    known = set.intersection(*(set(asked_in_all(one.rows, names)) for one in runs))
    items = [item for item in runs[0].items if item.id in known]
    found = [cells(one.rows, names, [item.id for item in items], one.result["scorer"]) for one in runs]
    prompts = {(row["item"], row["variant"]): row["prompt"] for row in runs[0].rows}
    return {
        "variants": names,
        "items": [
            {
                "id": item.id,
                "skill": item.skill,
                "question": item.question,
                "choices": list(item.choices),
                "answer": item.answer,
                "prompts": [prompts[item.id, name] for name in names],
                "runs": [_answers(one, n) for one in found],
            }
            for n, item in enumerate(items)
        ],
    }


def _answers(found: Cells, item: int) -> dict[str, Any]:
    shares = found.arrays["probability"][item]
    return {"chosen": found.chosen[item].tolist(), "probability": [round(float(p), 4) for p in shares]}
