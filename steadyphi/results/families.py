"""The changes between two runs in families other than formats, in option orders and in long prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steadyphi.results.cells import Cells
from steadyphi.results.experiment import FamilyChange
from steadyphi.stats.bootstrap import Arrays, Resampling
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.comparison import measure_changes

Rows = Sequence[Mapping[str, Any]]

FAMILY = ("accuracy_mean", "against_default", "spread", "pdr")
ORDERS = ("flip_rate", "position_bias")
LONG = ("right",)


def family(name: str, before: Cells, after: Cells, resampling: Resampling) -> FamilyChange:
    """Return the changes of a family. The first variant of the cells is the default format."""
    count = len(before.variants) - 1
    left_out = {"spread": count == 1, "pdr": name != "noise"}
    keys = [key for key in FAMILY if not left_out.get(key)]
    rows = measure_changes(
        before.against_default, after.against_default, [CATALOGUE[key] for key in keys], resampling
    )
    return FamilyChange("family", name, len(before.items), count, rows)


def orders(style: str, before: Cells, after: Cells, resampling: Resampling) -> FamilyChange:
    """Return the change of the effect of the order of options, for one style of listing them."""
    was, now = ({"chosen": run.chosen, **run.positions} for run in (before, after))
    rows = measure_changes(was, now, [CATALOGUE[key] for key in ORDERS], resampling)
    return FamilyChange("options", style, len(before.items), len(before.variants), rows)


def long(before: Rows, after: Rows, resampling: Resampling) -> list[FamilyChange]:
    """Return the changes of each kind of long prompts, from rows of the table `evaluation.run.LONG`.

    Only prompts of both runs count. An item is resampled with all its lengths and depths.
    """
    right = [{_place(row): row["failure"] is None for row in rows} for rows in (before, after)]
    both = [place for place in right[0] if place in right[1]]
    changes = []
    for task, kind in dict.fromkeys(place[:2] for place in both):
        places = [place for place in both if place[:2] == (task, kind)]
        items = list(dict.fromkeys(place[2] for place in places))
        was, now = (_counts(items, [(place[2], run[place]) for place in places]) for run in right)
        rows = measure_changes(was, now, [CATALOGUE[key] for key in LONG], resampling)
        variants = len({place[3:5] for place in places})
        name = f"{task}, {kind}" if kind else task
        changes.append(FamilyChange("long", name, len(items), variants, rows))
    return changes


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("task", "kind", "item", "length", "depth", "prompt"))


def _counts(items: Sequence[str], answers: Sequence[tuple[str, bool]]) -> Arrays:
    """Return the numbers of prompts and of right answers of each item, (items, 1) each."""
    rows = [[right for name, right in answers if name == item] for item in items]
    return {
        "right": np.array([[sum(row)] for row in rows]),
        "asked": np.array([[len(row)] for row in rows]),
    }
