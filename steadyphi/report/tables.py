"""The result as CSV files, for whoever wants to draw or test something else."""

from collections.abc import Iterator
from typing import Any

from steadyphi.report import reading
from steadyphi.report.reading import Result

Rows = list[dict[str, Any]]


def tables(result: Result) -> dict[str, Rows]:
    """Return the rows of each file by its name; shares and differences are between −1 and 1.

    A file of which there is nothing to say has no rows.
    """
    return {
        "measures.csv": _measures(result),
        "variants.csv": [
            {"run": reading.label(run), **_variant(v)} for run in result["runs"] for v in run["variants"]
        ],
        "effects.csv": [
            {"run": reading.label(run), **e} for run in result["runs"] for e in run.get("effects") or []
        ],
        "long.csv": [row for run in result["runs"] for row in _long(run)],
        "items.csv": list(_items(result)),
    }


def _measures(result: Result) -> Rows:
    return [
        {"run": reading.label(run), "measure": key, **{k: found[k] for k in ("value", "low", "high")}}
        for run in result["runs"]
        for key, found in run["measures"].items()
    ]


def _variant(variant: reading.Variant) -> dict[str, Any]:
    """Return a variant's row: its atoms in one column, so that all suites have the same columns."""
    atoms = "; ".join(f"{factor}={level!r}" for factor, level in variant["atoms"].items())
    return {**{k: v for k, v in variant.items() if k != "atoms"}, "atoms": atoms}


def _long(run: reading.Run) -> Iterator[dict[str, Any]]:
    """Yield every share of the long prompts in one shape: part, what sets it apart, length, value."""
    found = run.get("long") or {}
    for part, apart, value in (
        ("needle", "depth", "recall"),
        ("rules", "position", "followed"),
        ("padding", "kind", "accuracy"),
        ("tracking", "task", "accuracy"),
    ):
        for e in found.get(part) or []:
            row = {
                "run": reading.label(run),
                "part": part,
                "kind": e[apart],
                "length": e["length"],
                "items": e["items"],
            }
            yield {**row, "value": e[value], "low": e["low"], "high": e["high"], "exact": e.get("exact")}


def _items(result: Result) -> Iterator[dict[str, Any]]:
    cells = result.get("cells") or {"variants": [], "items": []}
    for item in cells["items"]:
        for run, answers in zip(result["runs"], item["runs"], strict=True):
            for n, variant in enumerate(cells["variants"]):
                chosen = answers["chosen"][n]
                yield {
                    "item": item["id"],
                    "skill": item["skill"],
                    "run": reading.label(run),
                    "variant": variant,
                    "answer": item["choices"][item["answer"]],
                    "chosen": item["choices"][chosen],
                    "correct": int(chosen == item["answer"]),
                    "probability": answers["probability"][n],
                }
