"""Read files of rows: JSON Lines, JSON, CSV and Parquet, plain or compressed; CSV cells stay text."""

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steadyphi.data.rows import WRITTEN, Row, digest, plain
from steadyphi.data.streams import lines, too_large
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.values import ROWS, rows_suffix

MOST_BYTES = 16 << 30  # of a file after decompression
MOST_JSON = 1 << 30  # of a .json file after decompression, because it is read whole
MOST_FILES = 10_000  # in a folder
BATCH = 256  # rows of a Parquet file that are read at a time
MOST_CELL = 16 << 20  # characters of one cell of a CSV file
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}  # of CSV files, the most usual first
NO_OBJECT = 'should be a JSON object such as {"question": "…"}'


def read_rows(file: Path) -> list[Row]:
    """Return the rows of a file, as `stream_rows` reads them."""
    return list(stream_rows(file))


def stream_rows(path: Path, pattern: str | None = None, part: str = "") -> Iterator[Row]:
    """Yield the rows of a .jsonl, .json, .csv or .parquet file, or of all such files in a folder.

    The first three may be compressed (.gz, .zst). A .jsonl file has one object per line; a .json file a list
    of objects, or an object that contains one such list (as BIG-Bench Hard's `examples`). The cells of a .csv
    file are texts. Equal rows count once.
    pattern: which files of the folder, as in `files_of`. part: the name of the source, if there are several.
    Raises SteadyPhiError that names the invalid row.
    """
    files = files_of(path, pattern)
    seen: set[bytes] = set()
    for file in files:
        inner = file.relative_to(path).as_posix() if path.is_dir() else ""
        name = "/".join(filter(None, (part, inner)))
        yield from distinct(READERS[rows_suffix(file.name)](file), str(file), name, seen)
    if not seen:
        raise SteadyPhiError(f"{path}: there are no rows in it")


def files_of(path: Path, pattern: str | None = None) -> list[Path]:
    """Return the file `path`, or the files of rows in the folder `path` in the order of their names.

    pattern: only the files whose path in the folder matches, such as `*.jsonl` or `**/*.jsonl`; by default
    all, those in folders below too, but no hidden ones.
    Raises SteadyPhiError if there is none, and if `path` is a file of another kind.
    """
    if path.is_file():
        if not rows_suffix(path.name):
            raise SteadyPhiError(
                f"{path}: the name of a file of rows should end in {', '.join(ROWS)}; rename it"
            )
        return [path]
    if not path.is_dir():
        raise SteadyPhiError(f"{path}: no such file or folder of rows")
    files = sorted(
        file
        for file in path.glob(pattern or "**/*")
        if rows_suffix(file.name) and file.is_file() and not _hidden(file.relative_to(path))
    )
    if not files:
        matching = f" that matches {pattern}" if pattern else ""
        raise SteadyPhiError(f"{path}: there is no {', '.join(ROWS)} file{matching} in this folder")
    if len(files) > MOST_FILES:
        raise SteadyPhiError(f"{path}: has {len(files):,} files, more than {MOST_FILES:,}; join some of them")
    return files


def _hidden(path: Path) -> bool:
    return any(name.startswith(".") for name in path.parts)


def distinct(
    values: Iterable[Any], source: str, part: str = "", seen: set[bytes] | None = None
) -> Iterator[Row]:
    """Yield a row for each mapping in `values`, except empty and repeated ones.

    The number of repeated ones is printed.
    part: the name of the source, if there are several. seen: the digests of the rows of earlier sources.
    Raises SteadyPhiError for a value that is not a mapping, if there are no rows, and if their texts have
    more than `MOST_BYTES` characters.
    """
    alone, seen = seen is None, set() if seen is None else seen
    total = repeated = 0
    for number, row in enumerate(values, start=1):
        if not isinstance(row, dict):
            raise SteadyPhiError(f"{source}: row {number}: {NO_OBJECT}")
        content = _as_sorted_json(row)
        total += len(content)  # in a Parquet file, a few bytes can stand for millions of equal long cells
        if total > MOST_BYTES:
            raise too_large(source, MOST_BYTES)
        try:
            key = digest(content)
        except UnicodeEncodeError:
            raise SteadyPhiError(
                f"{source}: row {number}: contains half a character (a lone surrogate); mend it"
            ) from None
        if row and key not in seen:
            seen.add(key)
            yield Row(source, number, row, part)
        elif row:
            repeated += 1
    if repeated:
        number_of = "1 row is" if repeated == 1 else f"{repeated:,} rows are"
        print(f"{source}: {number_of} equal to an earlier row and left out", file=sys.stderr)
    if alone and not seen:
        raise SteadyPhiError(f"{source}: there are no rows in it")


def _written(value: Any) -> str | None:
    return plain(value) if isinstance(value, WRITTEN) else None


# A row as JSON. Dates and decimals become texts, and cells of bytes become null.
as_json = json.JSONEncoder(default=_written, ensure_ascii=False).encode
_as_sorted_json = json.JSONEncoder(default=_written, ensure_ascii=False, sort_keys=True).encode


def parse(text: str, where: str) -> Any:
    """Return the value of a JSON text.

    Raises SteadyPhiError for invalid JSON, and for what other tools read differently: a key that occurs
    twice in an object, and NaN and infinite numbers.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"the key {twice!r} occurs twice")
        return values

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not a JSON number")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except RecursionError:
        raise SteadyPhiError(f"{where}: not JSON (nested too deeply)") from None
    except ValueError as error:
        advice = ""
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            advice = "; for one object per line, call the file .jsonl"
        raise SteadyPhiError(f"{where}: not JSON ({str(error).splitlines()[0]}){advice}") from None


def _read_jsonl(file: Path) -> Iterator[Any]:
    for number, line in enumerate(lines(file, MOST_BYTES), start=1):
        if line.lstrip().startswith("["):
            raise SteadyPhiError(
                f"{file}: row {number}: {NO_OBJECT}; for a list of objects, call the file .json"
            )
        yield parse(line.removesuffix("\n"), f"{file}: row {number}") if line.strip() else {}


def _read_json(file: Path) -> list[Any]:
    rows = parse("".join(lines(file, min(MOST_BYTES, MOST_JSON))), str(file))
    if isinstance(rows, dict):
        lists = [v for v in rows.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        rows = lists[0] if len(lists) == 1 else None
    if not isinstance(rows, list):
        raise SteadyPhiError(
            f"{file}: should be a list of objects, or an object with one such list in it; "
            "for one object per line, call the file .jsonl"
        )
    return rows


def _read_csv(file: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file; the first line names the columns, and every cell is a string.

    Columns without a name, which spreadsheets add, are left out.
    """
    csv.field_size_limit(MOST_CELL)
    content = _csv_lines(file)
    first = next(content, "")
    unquoted = re.sub('"[^"]*"', "", first)
    delimiter = next((mark for mark in DELIMITERS if mark in unquoted), ",")
    reader = csv.reader(itertools.chain([first], content), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        for column in filter(None, columns):
            if columns.count(column) > 1:
                raise SteadyPhiError(f"{file}: the column {column!r} occurs twice in the first line")
        for number, cells in enumerate(reader, start=1):
            if len(cells) > len(columns):
                raise SteadyPhiError(
                    f"{file}: row {number} has {len(cells)} cells, but there are {len(columns)} columns "
                    f"({', '.join(columns)}); put a text with a {DELIMITERS[delimiter]} in double quotes"
                )
            yield {name: cell for name, cell in zip(columns, cells, strict=False) if name}
    except csv.Error as error:
        raise SteadyPhiError(f"{file}: line {reader.line_num}: not CSV ({error})") from None


def _csv_lines(file: Path) -> Iterator[str]:
    """Yield the lines of a CSV file, which may end in \\n, \\r\\n or \\r."""
    for line in lines(file, MOST_BYTES):
        yield from io.StringIO(line, newline="")


def _read_parquet(file: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(BATCH):
                yield from _exact(batch).to_pylist()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise SteadyPhiError(f"{file}: cannot be read as a table ({reason})") from None


def _exact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with single-precision numbers as they are written: 0.1, not 0.10000000149011612."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_float32(field.type):
            texts = batch.column(place).cast(pa.string())
            batch = batch.set_column(place, field.name, texts.cast(pa.float64()))
    return batch


READERS = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}
