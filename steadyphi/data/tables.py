"""Write and read prepared data as Parquet files."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steadyphi.data.packing import Example
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_file
from steadyphi.prompts.item import Item

EXAMPLES = pa.schema(
    [
        ("id", pa.string()),
        ("style", pa.string()),
        ("rendering", pa.int32()),
        ("prompt", pa.int32()),  # the number of leading tokens without loss
        ("later", pa.list_(pa.int32())),  # begin and end of each later prompt of a dialogue
        ("tokens", pa.list_(pa.int32())),
    ]
)
ITEMS = pa.schema(
    [
        ("id", pa.string()),
        ("skill", pa.string()),
        ("question", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("answer", pa.int32()),
    ]
)


def write_table(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet, atomically; the same rows give the same bytes."""
    with atomic_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary, compression="zstd")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file. Raises SteadyPhiError if the file is absent or damaged."""
    try:
        return list(pq.read_table(path).to_pylist())
    except (OSError, pa.ArrowInvalid) as error:
        raise SteadyPhiError(f"{path}: cannot be read ({error}); run dvc repro") from None


def write_examples(
    path: Path, ids: Sequence[str], styles: Sequence[str], examples: Sequence[Example]
) -> None:
    """Write tokenized examples with their ids and prompt styles."""
    rows = [
        {"id": id_, "style": style, **vars(example)}
        for id_, style, example in zip(ids, styles, examples, strict=True)
    ]
    write_table(path, rows, EXAMPLES)


def read_examples(path: Path) -> list[Example]:
    """Read tokenized examples."""
    names = [field.name for field in fields(Example)]
    return [Example(**{name: row[name] for name in names}) for row in read_table(path)]


def read_formats(path: Path) -> list[str]:
    """Return the names of the formats of a file of examples, one per rendering.

    A rendering in several formats is called `rendering N`, counted from 0.
    """
    names: dict[int, set[str]] = {}
    for row in read_table(path):
        names.setdefault(row["rendering"], set()).add(row["style"])
    return [
        next(iter(styles)) if len(styles) == 1 else f"rendering {n}" for n, styles in sorted(names.items())
    ]


def write_items(path: Path, items: Sequence[Item]) -> None:
    """Write evaluation items."""
    write_table(path, [asdict(item) for item in items], ITEMS)


def read_items(path: Path) -> list[Item]:
    """Read evaluation items."""
    return [Item(**{**row, "choices": tuple(row["choices"])}) for row in read_table(path)]
