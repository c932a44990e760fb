"""Rows in a temporary file: a million rows take little memory, and each can be read back by its place."""

import json
import os
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, overload

from steadyphi.data.row_files import as_json
from steadyphi.data.rows import Row
from steadyphi.errors import SteadyPhiError


class Rows(Sequence[Row]):
    """Rows that are kept in a temporary file without a name, which is gone when the process ends."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Write the rows, and for each source the names of its columns with a value into `columns_of`.

        Raises SteadyPhiError if the disk of the temporary file is full.
        """
        self.columns_of: dict[str, set[str]] = {}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, because it lives as long as the object
        self._ends, self._numbers, self._sources = array("Q"), array("Q"), array("L")
        names: dict[tuple[str, str], int] = {}
        end = 0
        for row in rows:
            named = self.columns_of.setdefault(row.source, set())
            named.update(column for column, value in row.values.items() if value is not None)
            end += self._write(as_json(row.values).encode())
            self._ends.append(end)
            self._numbers.append(row.number)
            self._sources.append(names.setdefault((row.source, row.part), len(names)))
        self._names = list(names)
        self._write(b"", flush=True)

    def _write(self, content: bytes, flush: bool = False) -> int:
        try:
            written = self._file.write(content)
            if flush:
                self._file.flush()
        except OSError as error:
            folder, reason = tempfile.gettempdir(), error.strerror
            raise SteadyPhiError(
                f"{folder}: the rows cannot be kept there ({reason}); set TMPDIR to a folder with more space"
            ) from None
        return written

    @property
    def columns(self) -> set[str]:
        """The names of the columns that have a value in any row."""
        return set().union(*self.columns_of.values())

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: Any) -> Any:
        """Read a row back. Dates and decimals of a table are texts by now."""
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        begin = self._ends[index - 1] if index else 0
        content = os.pread(self._file.fileno(), self._ends[index] - begin, begin)
        source, part = self._names[self._sources[index]]
        return Row(source, self._numbers[index], json.loads(content.decode()), part)
