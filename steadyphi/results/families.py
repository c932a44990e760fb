"""Did it help beyond the formats: with the other families, the order of options, long prompts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from steadyphi.results.cells import Cells
from steadyphi.results.headline import BOUNDED, PLACES
from steadyphi.stats.bootstrap import Arrays, Measure
from steadyphi.stats.measures import spread

Rows = Sequence[Mapping[str, Any]]
Changes = Callable[[Arrays, Arrays, Mapping[str, Measure]], list[dict[str, Any]]]

# Of `correct`, whose first column is the default format and whose others are the family.
FAMILY: dict[str, Measure] = {
    "accuracy_mean": lambda arrays: float(arrays["correct"][:, 1:].mean()),
    "against_default": lambda arrays: float(arrays["correct"][:, 1:].mean() - arrays["correct"][:, 0].mean()),
    "spread": lambda arrays: spread(arrays["correct"][:, 1:]),
}
ORDERS = {"flip_rate": BOUNDED["flip_rate"], "position_bias": PLACES["position_bias"]}
LONG: dict[str, Measure] = {"right": lambda arrays: float(arrays["right"].sum() / arrays["asked"].sum())}


def family(name: str, was: Cells, now: Cells, changes: Changes) -> dict[str, Any]:
    """Return how the variants of a family changed; the first of the cells' variants is the default format."""
    count = len(was.variants) - 1
    wanted = {key: measure for key, measure in FAMILY.items() if count > 1 or key != "spread"}
    rows = changes({"correct": was.correct}, {"correct": now.correct}, wanted)
    return {"part": "family", "name": name, "items": len(was.items), "variants": count, "measures": rows}


def orders(style: str, was: Cells, now: Cells, changes: Changes) -> dict[str, Any]:
    """Return how much the order of options that are listed in a style matters, before and after."""
    before, after = ({"chosen": one.chosen, **one.positions} for one in (was, now))
    found = {"items": len(was.items), "variants": len(was.variants)}
    return {"part": "options", "name": style, **found, "measures": changes(before, after, ORDERS)}


def long(was: Rows, now: Rows, changes: Changes) -> list[dict[str, Any]]:
    """Return for each kind of long prompt (`running.LONG`) the share that is right, before and after.

    Only prompts that both were given count. An item is drawn with all its lengths and depths.
    """
    asked = [{_place(row): row["failure"] is None for row in rows} for rows in (was, now)]
    both = [place for place in asked[0] if place in asked[1]]
    found = []
    for task, kind in dict.fromkeys(place[:2] for place in both):
        own = [place for place in both if place[:2] == (task, kind)]
        items = list(dict.fromkeys(place[2] for place in own))
        before, after = (_counted(items, [(place[2], right[place]) for place in own]) for right in asked)
        name = f"{task}, {kind}" if kind else task
        variants = len({place[3:5] for place in own})
        found.append(
            {"part": "long", "name": name, "items": len(items), "variants": variants}
            | {"measures": changes(before, after, LONG)}
        )
    return found


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("task", "kind", "item", "length", "depth", "prompt"))


def _counted(items: Sequence[str], answers: Sequence[tuple[str, bool]]) -> Arrays:
    """Return how often each item was asked and was right, (items, 1) each."""
    rows = [[right for item, right in answers if item == one] for one in items]
    return {
        "right": np.array([[sum(row)] for row in rows]),
        "asked": np.array([[len(row)] for row in rows]),
    }
