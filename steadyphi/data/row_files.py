"""Read files of rows: JSON Lines, JSON, CSV and Parquet, plain or compressed by gzip; CSV cells stay text."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from steadyphi.data.rows import Row
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.values import rows_suffix

MOST_BYTES = 1 << 30  # of a file after decompression; its rows are held in memory
PIECE = 1 << 20  # bytes that are decompressed at a time
BATCH = 64  # rows of a Parquet file that are read at a time
MOST_CELL = 16 << 20  # characters of one cell of a CSV file


def read_rows(file: Path) -> list[Row]:
    """Read the rows of a .jsonl, .json, .csv or .parquet file; the first three may end in .gz.

    A .jsonl file has one object per line; a .json file a list of objects, or an object that contains one such
    list (as BIG-Bench Hard's `examples`). The cells of a .csv file are texts. Equal rows count once.
    Raises SteadyPhiError that names the invalid row.
    """
    if not file.is_file():
        raise SteadyPhiError(f"{file}: no such file; set data_file or task_file in params.yaml to yours")
    try:
        return list(distinct(READERS[rows_suffix(file.name)](file), str(file)))
    except UnicodeDecodeError as error:
        raise SteadyPhiError(
            f"{file}: is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None


def distinct(values: Iterable[Any], source: str) -> Iterator[Row]:
    """Yield a row for each mapping in `values`, except empty and repeated ones.

    Raises SteadyPhiError for a value that is not a mapping, if there are no rows, and if their texts have
    more than `MOST_BYTES` characters.
    """
    seen: set[str] = set()
    total = 0
    for number, row in enumerate(values, start=1):
        if not isinstance(row, dict):
            raise SteadyPhiError(
                f'{source}: row {number}: should be a JSON object such as {{"question": "…"}}'
            )
        content = json.dumps(row, sort_keys=True, default=str, ensure_ascii=False)
        total += len(content)  # in a Parquet file, a few bytes can stand for millions of equal long cells
        if total > MOST_BYTES:
            raise _too_large(source)
        if not content.isascii() and content != content.encode(errors="replace").decode():
            raise SteadyPhiError(
                f"{source}: row {number}: contains half a character (a lone surrogate); mend it"
            )
        if row and content not in seen:
            seen.add(content)
            yield Row(source, number, row)
    if not seen:
        raise SteadyPhiError(f"{source}: there are no rows in it")


def _text(file: Path) -> str:
    """Return the content of a text file, decompressed if its name ends in .gz; at most `MOST_BYTES`."""
    pieces, total = [], 0
    packed = file.suffix.lower() == ".gz"
    try:
        with gzip.open(file, "rb") if packed else file.open("rb") as content:
            while piece := content.read(PIECE):
                pieces.append(piece)
                total += len(piece)
                if total > MOST_BYTES:
                    raise _too_large(str(file))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SteadyPhiError(f"{file}: is not a whole gzip file ({error})") from None
    return b"".join(pieces).decode("utf-8-sig")  # unlike read_text, does not convert \r


def _too_large(source: str) -> SteadyPhiError:
    return SteadyPhiError(
        f"{source}: has more than {MOST_BYTES:,} bytes when it is unpacked, too many to read; keep fewer rows"
    )


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
    # Not splitlines, which also splits at U+2028, a character that JSON texts may contain.
    for number, line in enumerate(_text(file).split("\n"), start=1):
        yield parse(line, f"{file}: row {number}") if line.strip() else {}  # rows are counted as lines


def _read_json(file: Path) -> list[Any]:
    rows = parse(_text(file), str(file))
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
    """Yield the rows of a CSV file; the first line names the columns, and every cell is a string."""
    csv.field_size_limit(MOST_CELL)
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    try:
        columns = next(reader, [])
        for column in columns:
            if columns.count(column) > 1:
                raise SteadyPhiError(f"{file}: the column {column!r} occurs twice in the first line")
        for number, cells in enumerate(reader, start=1):
            if len(cells) > len(columns):
                raise SteadyPhiError(
                    f"{file}: row {number} has {len(cells)} cells, but there are {len(columns)} columns "
                    f"({', '.join(columns)}); put a text with a comma in double quotes"
                )
            yield dict(zip(columns, cells, strict=False))
    except csv.Error as error:
        raise SteadyPhiError(f"{file}: line {reader.line_num}: not CSV ({error})") from None


def _read_parquet(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(BATCH):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise SteadyPhiError(f"{file}: cannot be read as a table ({reason})") from None


READERS = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}
