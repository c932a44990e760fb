"""A folder of files, plain and compressed, is one source; text stays text in each kind of file."""

import csv
import datetime
import gzip
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steadyphi.data.row_files import files_of, stream_rows
from steadyphi.data.row_store import Rows
from steadyphi.data.rows import Row
from steadyphi.errors import SteadyPhiError

# Identifiers with leading zeros, dates, long integers, and words that tables are known to read as missing.
TEXTS = ("00245", "2020-01-01", "12345678901234567890123", "NA", "null", "None", "nan", "1e5", "26.60")


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def as_jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, str]]) -> bytes:
    import io

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


WRITERS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "x.jsonl": as_jsonl,
    "x.jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
    "x.jsonl.zst": lambda rows: zstd(as_jsonl(rows)),
    "x.json": lambda rows: json.dumps(rows).encode(),
    "x.json.zst": lambda rows: zstd(json.dumps(rows).encode()),
    "x.csv": as_csv,
    "x.csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "x.csv.zst": lambda rows: zstd(as_csv(rows)),
    "x.parquet": as_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_text_stays_text_in_every_kind_of_file(tmp_path: Path, name: str) -> None:
    rows = [{"instruction": f"q{n}", "response": text} for n, text in enumerate(TEXTS)]
    (tmp_path / name).write_bytes(WRITERS[name](rows))
    assert [row.values for row in Rows(stream_rows(tmp_path / name))] == rows
    assert [row.text("{response}") for row in stream_rows(tmp_path / name)] == list(TEXTS)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (datetime.date(2020, 1, 1), "2020-01-01"),
        (datetime.datetime(2020, 1, 1, 7, 30), "2020-01-01 07:30:00"),
        (2**62 + 1, "4611686018427387905"),
        (51.0, "51"),
        (0.1, "0.1"),
        (pa.scalar(None, pa.string()).as_py(), None),
        (float("nan"), None),
        (b"\x00\xff", None),
    ],
)
def test_a_typed_cell_of_parquet_is_its_text_or_missing(tmp_path: Path, cell: Any, text: str | None) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"question": ["q"], "answer": [cell]}), path)
    for row in (next(stream_rows(path)), Rows(stream_rows(path))[0]):
        if text is None:
            with pytest.raises(SteadyPhiError, match="row 1: the column 'answer' should hold a text"):
                row.text("{answer}")
        else:
            assert row.text("{answer}") == text


def test_a_zstd_file_that_is_cut_off_or_no_zstd_is_refused(tmp_path: Path) -> None:
    whole = zstd(as_jsonl([{"a": str(n)} for n in range(20_000)]))
    for content in (whole[:-9], b"no zstd"):
        (tmp_path / "x.jsonl.zst").write_bytes(content)
        with pytest.raises(SteadyPhiError, match=r"x\.jsonl\.zst: is not a whole zstd file") as refused:
            list(stream_rows(tmp_path / "x.jsonl.zst"))
        assert "\n" not in str(refused.value)


def test_several_frames_of_zstd_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.zst").write_bytes(zstd(as_jsonl([{"a": "1"}])) + zstd(as_jsonl([{"a": "2"}])))
    assert [row.values["a"] for row in stream_rows(tmp_path / "x.jsonl.zst")] == ["1", "2"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "b.jsonl").write_bytes(as_jsonl([{"a": "1"}, {"a": "2"}]))
    (folder / "a.jsonl.zst").write_bytes(zstd(as_jsonl([{"a": "2"}, {"a": "3"}])))
    (folder / "deep" / "c.csv").write_text("a\n4\n")
    (folder / ".hidden" / "d.jsonl").write_bytes(as_jsonl([{"a": "5"}]))
    (folder / "notes.txt").write_text("not rows")
    return folder


def test_the_rows_of_a_folder_in_the_order_of_its_files(folder: Path) -> None:
    rows = list(stream_rows(folder))
    assert [row.values["a"] for row in rows] == [
        "2",
        "3",
        "1",
        "4",
    ]  # a row that another file has counts once
    assert [row.id for row in rows] == [
        "a.jsonl.zst-row-1",
        "a.jsonl.zst-row-2",
        "b.jsonl-row-1",
        "deep/c.csv-row-1",
    ]
    assert rows[2].where == f"{folder / 'b.jsonl'}: row 1"
    assert [row.id for row in Rows(rows)] == [row.id for row in rows]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.jsonl", ["b.jsonl"]),
        ("*.jsonl*", ["a.jsonl.zst", "b.jsonl"]),
        ("**/*.csv", ["deep/c.csv"]),
        ("deep/*", ["deep/c.csv"]),
    ],
)
def test_a_pattern_chooses_among_the_files(folder: Path, pattern: str, names: list[str]) -> None:
    assert [file.relative_to(folder).as_posix() for file in files_of(folder, pattern)] == names


def test_a_folder_without_rows_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SteadyPhiError, match=r"there is no \.jsonl, .* file that matches \*\.parquet in this"
    ):
        files_of(folder, "*.parquet")
    with pytest.raises(SteadyPhiError, match="no such file"):
        files_of(tmp_path / "absent")
    (tmp_path / "rows.txt").write_text("{}")
    with pytest.raises(SteadyPhiError, match=r"rows\.txt: the name of a file of rows should end in \.jsonl"):
        files_of(tmp_path / "rows.txt")
    with pytest.raises(SteadyPhiError, match=r"deep/c\.csv: row 2 has 2 cells"):
        (folder / "deep" / "c.csv").write_text("a\n4\n5,6\n")
        list(stream_rows(folder))


def test_rows_are_read_back_from_the_disk_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(as_jsonl([{"a": f"Größe {n}", "b": [{"c": n}]} for n in range(500)]))  # type: ignore[dict-item]
    rows = Rows(stream_rows(path))
    assert list(rows) == list(stream_rows(path)) and rows.columns == {"a", "b"}
    assert rows[-1].values["b"] == [{"c": 499}] and [row.number for row in rows[7:10]] == [8, 9, 10]
    with pytest.raises(IndexError):
        rows[500]


def test_a_full_disk_under_the_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(Path("/dev/full").open, "r+b"))
    with pytest.raises(SteadyPhiError, match=r"the rows cannot be kept there \(No space left .*TMPDIR"):
        Rows([Row("x", 1, {"question": "Who?"})])
