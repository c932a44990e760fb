"""The experiment as CSV files, for other programs."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from steadyphi.results.experiment import Experiment
from steadyphi.results.result import LongShare, OpenAccuracy, Result, VariantRow

Rows = list[dict[str, Any]]

FORMULA = ("=", "+", "-", "@", "\t", "\r")
OPEN = ("open", "open_low", "open_high", "open_items", "ranked_on_open_items")


def tables(experiment: Experiment) -> dict[str, Rows]:
    """Return the rows of each file by its name; shares and differences are between −1 and 1.

    A file has no rows if the experiment has nothing for it. Texts are guarded against spreadsheets, see
    `guarded`.
    """
    plain = {
        "measures.csv": [
            {"run": run.label, "measure": key, **asdict(estimate)}
            for run in experiment.runs
            for key, estimate in run.measures.items()
        ],
        "variants.csv": [
            {"run": run.label, **_variant(row)} for run in experiment.runs for row in run.variants
        ],
        "effects.csv": [
            {"run": run.label, **asdict(effect)} for run in experiment.runs for effect in run.effects
        ],
        "quantized.csv": [
            {"run": run.label, "bits": row.bits, **asdict(change)}
            for run in experiment.runs
            for row in run.quantized
            for change in row.measures
        ],
        "long.csv": [row for run in experiment.runs for row in _long(run)],
        "items.csv": list(_items(experiment)),
    }
    return {
        name: [{key: guarded(value) for key, value in row.items()} for row in rows]
        for name, rows in plain.items()
    }


def guarded(value: Any) -> Any:
    """Return a text that a spreadsheet would compute as a formula behind an apostrophe, others as they are.

    A question or a choice of a data set may begin with "=" (OWASP, CSV injection).
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _variant(row: VariantRow) -> dict[str, Any]:
    """Return a variant in flat columns, with all atoms in one, so that every suite has the same columns."""
    atoms = "; ".join(f"{factor}={level!r}" for factor, level in row.atoms.items())
    columns = asdict(row) | {"atoms": atoms}
    del columns["open"]
    return columns | _open(row.open)


def _open(row: OpenAccuracy | None) -> dict[str, float | None]:
    values = (row.accuracy, row.low, row.high, row.items, row.ranked) if row else [None] * len(OPEN)
    return dict(zip(OPEN, values, strict=True))


def _long(run: Result) -> Iterator[dict[str, Any]]:
    """Yield the shares of all long prompts; the kind of a needle is its depth."""
    if run.long is None:
        return
    parts = {
        "needle": run.long.needle,
        "rules": run.long.rules,
        "padding": run.long.padding,
        "tracking": run.long.tracking,
    }
    for part, shares in parts.items():
        for share in shares:
            yield {"run": run.label, "part": part, **_share(share)}


def _share(share: LongShare) -> dict[str, Any]:
    return {
        "kind": share.kind if share.depth is None else share.depth,
        "length": share.length,
        "items": share.items,
        "value": share.share,
        "low": share.low,
        "high": share.high,
        "exact": share.exact,
    }


def _items(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """Yield the answer of each run to each question in each format."""
    for item in experiment.answers.items:
        for run, answers in zip(experiment.runs, item.runs, strict=True):
            for n, variant in enumerate(experiment.answers.variants):
                chosen = answers.chosen[n]
                yield {
                    "item": item.id,
                    "skill": item.skill,
                    "run": run.label,
                    "variant": variant,
                    "answer": item.choices[item.answer],
                    "chosen": item.choices[chosen],
                    "correct": int(chosen == item.answer),
                    "probability": answers.probability[n],
                }
