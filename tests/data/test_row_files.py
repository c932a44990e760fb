"""Files of rows: text stays text, and what cannot be read is refused in one line that names the place."""

import csv
import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadyphi.data import row_files, streams
from steadyphi.data.row_files import read_rows, stream_rows
from steadyphi.data.row_store import Rows
from steadyphi.data.rows import plain
from steadyphi.errors import SteadyPhiError

CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=12)


def cells(path: Path, column: str) -> list[str]:
    return [row.values[column] for row in read_rows(path)]


@pytest.mark.parametrize(
    "words", [("00245", "26.60", "3.10"), ("true", "NA", "None", "null", "nan"), ("1e5", "2020-01-01", "-0")]
)
def test_a_cell_of_csv_is_its_text(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "x.csv"
    path.write_text("question,answer\n" + "".join(f"q{n},{word}\n" for n, word in enumerate(words)))
    assert cells(path, "answer") == list(words)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6, unique=True))
def test_what_csv_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("a", "b"), *rows])
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    assert [(r.values["a"], r.values["b"]) for r in read_rows(path)] == rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_spreadsheet_in_any_country(tmp_path: Path, delimiter: str) -> None:
    """As Excel writes it: a byte order mark, CRLF, quoted newlines, and columns without a name at the end."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([("a, b;\tc", " d ", "", ""), ("1,5", 'say "x;\t"\nnow', "", "")])
    (tmp_path / "x.csv").write_text(text.getvalue(), encoding="utf-8-sig", newline="")
    (row,) = read_rows(tmp_path / "x.csv")
    assert row.values == {"a, b;\tc": "1,5", "d": 'say "x;\t"\nnow'}


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.decimal128(20, 8)])
def test_numbers_of_a_table_are_read_as_people_write_them(tmp_path: Path, kind: pa.DataType) -> None:
    written = ["0.1", "0.00000123", "12.5", "-3", None]
    numbers = pa.array(written).cast(pa.decimal128(20, 8)).cast(kind)
    pq.write_table(pa.table({"question": list("abcde"), "answer": numbers}), tmp_path / "x.parquet")
    texts = [plain(row.values["answer"]) for row in Rows(stream_rows(tmp_path / "x.parquet"))]
    whole = (
        written
        if kind != pa.decimal128(20, 8)
        else ["0.10000000", "0.00000123", "12.50000000", "-3.00000000", None]
    )
    assert texts == whole


def test_equal_rows_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in (("a", "x\nx\ny\n"), ("b", "y\nz\n"), ("c", "w\n\n\n")):
        (tmp_path / f"{name}.csv").write_text("q\n" + rows)
    assert [row.values["q"] for row in stream_rows(tmp_path)] == ["x", "y", "z", "w"]
    one = "1 row is equal to an earlier row and left out"
    assert capsys.readouterr().err == f"{tmp_path}/a.csv: {one}\n{tmp_path}/b.csv: {one}\n"


def test_a_word_after_thousands_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "\n".join(map(str, range(12_000))) + "\nmany\n")
    assert cells(path, "a")[-2:] == ["11999", "many"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"a,b\n1,2\n3,4,5\n", "row 2 has 3 cells, but there are 2 columns (a, b); put a text"),
        (
            "x.csv",
            b"a;b\n1;2;3\n",
            "row 1 has 3 cells, but there are 2 columns (a, b); put a text with a semi",
        ),
        ("x.jsonl", b'[{"a": 1},', "row 1: should be a JSON object such as"),
        ("x.jsonl", b'[{"a": 1}]', "for a list of objects, call the file .json"),
        ("x.csv", b"a,a\n1,2\n", "the column 'a' occurs twice in the first line"),
        ("x.csv", b'a,b\n"x"y,2\n', "line 2: not CSV"),
        ("x.csv", b"a,b\n", "there are no rows"),
        ("x.csv", b"", "there are no rows"),
        ("x.csv", "caf\xe9,b\n".encode("latin-1"), "at byte 3); save it as UTF-8"),
        ("x.json", b'[{"a": 1, "a": 2}]', "not JSON (the key 'a' occurs twice)"),
        ("x.jsonl", b'{"a": 1, "a": 2}', "row 1: not JSON (the key 'a' occurs twice)"),
        ("x.json", b'[{"a": NaN}]', "not JSON (NaN is not a JSON number)"),
        ("x.jsonl", b'{"a": -Infinity}', "row 1: not JSON (-Infinity is not a JSON number)"),
        ("x.json", b'[{"a": ' + b"9" * 5000 + b"}]", "not JSON (Exceeds the limit"),
        ("x.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "row 1: not JSON (Exceeds the limit"),
        ("x.json", b"[" * 200_000, "not JSON (nested too deeply)"),
        ("x.jsonl", b'{"a": ' + b"[" * 200_000, "row 1: not JSON (nested too deeply)"),
        ("x.json", b'{"a": 1}\n{"a": 2}\n', "for one object per line, call the file .jsonl"),
        ("x.jsonl.gz", b"no gzip", "is not a whole gzip file"),
        ("x.jsonl.gz", gzip.compress(b'{"a": 1}', mtime=0)[:-9], "is not a whole gzip file"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SteadyPhiError) as refused:
        read_rows(tmp_path / name)
    assert message in str(refused.value) and name in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("name", ["x.jsonl", "x.JSONL", "x.jsonl.gz", "x.Jsonl.GZ"])
def test_names_in_any_case_and_compressed(tmp_path: Path, name: str) -> None:
    content = json.dumps({"a": "1"}).encode()
    (tmp_path / name).write_bytes(gzip.compress(content, mtime=0) if name.lower().endswith("gz") else content)
    assert cells(tmp_path / name, "a") == ["1"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json.gz", "x.csv.gz"])
def test_a_file_that_unpacks_to_too_many_bytes_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    most = 4 << 20
    monkeypatch.setattr(row_files, "MOST_BYTES", most)
    content = b" " * (64 << 20)
    (tmp_path / name).write_bytes(gzip.compress(content, 1, mtime=0) if name.endswith("gz") else content)
    tracemalloc.start()
    try:
        with pytest.raises(
            SteadyPhiError, match=r"has more than 4,194,304 bytes when it is unpacked"
        ) as refused:
            read_rows(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert name in str(refused.value) and "\n" not in str(refused.value)
    assert peak < most + 5 * streams.PIECE


def test_a_parquet_file_of_equal_cells_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.parquet"
    cell = pa.array(["x" * 1000])
    same = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), cell)
    pq.write_table(pa.table({"a": same, "n": pa.array(range(20_000))}), path)
    assert path.stat().st_size < 1 << 20
    read = read_rows(path)
    assert len(read) == 20_000 and read[19_999].values == {"a": "x" * 1000, "n": 19_999}
    monkeypatch.setattr(row_files, "MOST_BYTES", 4 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(SteadyPhiError, match="has more than 4,194,304 bytes when it is unpacked"):
            read_rows(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
