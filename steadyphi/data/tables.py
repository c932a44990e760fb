"""Write and read prepared data as Parquet files."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, overload

import numpy as np
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
        ("system", pa.string()),  # the system text of the question
    ]
)


def write_table(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet, atomically; the same rows give the same bytes."""
    with atomic_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary, compression="zstd")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file. Raises SteadyPhiError if the file is absent or damaged."""
    return list(_read(path).to_pylist())


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, memory_map=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise SteadyPhiError(f"{path}: cannot be read ({error}); run dvc repro") from None


Write = Callable[[Sequence[str], Sequence[str], Sequence[Example]], None]


@contextlib.contextmanager
def examples_file(path: Path) -> Iterator[Write]:
    """Write tokenized examples piece by piece: yield a function of their ids, prompt styles and tokens.

    The file gets its name when the block ends without an error.
    """
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, EXAMPLES, compression="zstd") as writer:

        def write(ids: Sequence[str], styles: Sequence[str], examples: Sequence[Example]) -> None:
            columns = [pa.array(ids, pa.string()), pa.array(styles, pa.string())]
            columns += [_integers([e.rendering for e in examples]), _integers([e.prompt for e in examples])]
            columns += [_lists([e.later for e in examples]), _lists([e.tokens for e in examples])]
            writer.write_table(pa.table(columns, EXAMPLES))

        yield write


def _integers(values: Iterable[int]) -> pa.Array:
    return pa.array(np.fromiter(values, np.int32))


def _lists(values: Sequence[Sequence[int]]) -> pa.Array:
    """Return lists as one column. Arrow itself converts them several times slower, number by number."""
    ends = itertools.accumulate(map(len, values), initial=0)
    return pa.ListArray.from_arrays(_integers(ends), _integers(itertools.chain.from_iterable(values)))


def write_examples(
    path: Path, ids: Sequence[str], styles: Sequence[str], examples: Sequence[Example]
) -> None:
    """Write tokenized examples with their ids and prompt styles."""
    with examples_file(path) as write:
        write(ids, styles, examples)


class Examples(Sequence[Example]):
    """The tokenized examples of a file, each made when it is asked for: a token takes 4 bytes of memory."""

    def __init__(self, path: Path) -> None:
        """Map the file into memory. Raises SteadyPhiError if it is absent or damaged."""
        table = _read(path, ["rendering", "prompt", "later", "tokens"])
        self._prompts, self._renderings = (table[name].to_numpy() for name in ("prompt", "rendering"))
        self._tokens, self._later = _Lists(table["tokens"]), _Lists(table["later"])

    def __len__(self) -> int:
        return len(self._prompts)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        prompt, rendering = int(self._prompts[index]), int(self._renderings[index])
        return Example(self._tokens[index], prompt, rendering, self._later[index])


class _Lists:
    """The lists of a column as NumPy arrays: all values, and where each list ends."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        lists = column.combine_chunks()
        self.values, self.offsets = lists.values.to_numpy(), lists.offsets.to_numpy()

    def __getitem__(self, index: int) -> list[int]:
        values: list[int] = self.values[self.offsets[index] : self.offsets[index + 1]].tolist()
        return values


def read_examples(path: Path) -> Examples:
    """Read tokenized examples."""
    return Examples(path)


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
