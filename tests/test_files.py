"""Reading within limits; atomic writing: the old state or the new one, nothing beside it."""

import json
import math
import os
from pathlib import Path

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.files import (
    atomic_dir,
    atomic_file,
    check_copyable,
    read_bytes,
    read_csv,
    read_object,
    write_csv,
)


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x"]
    with atomic_file(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o644


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for content in ("old", "new"):
        with atomic_dir(folder) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / content).write_text(content)
        assert [p.name for p in (folder / "sub").iterdir()] == [content]
    with pytest.raises(KeyboardInterrupt), atomic_dir(folder) as temporary:
        (temporary / "half").touch()
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    (tmp_path / ".d.killed.tmp").mkdir()  # what a SIGKILL leaves, the next writer removes
    with atomic_dir(folder) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "new").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    assert (folder / "sub" / "new").exists()


def test_csv_round_trip(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"a": 1 / 3, "b": "x, y"}, {"a": 2, "b": '"'}])
    assert (tmp_path / "t.csv").read_bytes() == b'a,b\n0.333333,"x, y"\n2,""""\n'
    assert read_csv(tmp_path / "t.csv")[0] == {"a": "0.333333", "b": "x, y"}


REFUSED = [
    ("x.json", b"[1]", "it is not a mapping"),
    ("x.json", b"\xff", "can't decode byte"),
    ("x.json", b'{"a": 1', "Expecting"),
    ("x.json", b'{"a": 1, "b": {"k": 1, "k": 1}}', "the duplicate key 'k'"),
    ("x.json", b'{"a": {"b": NaN}}', "b: a number is NaN"),
    ("x.json", b'{"a": [0, 1e400]}', "1: a number is NaN or infinite"),
    ("x.json", b'{"a": 1%s}' % (b"0" * 400), "a: an integer has more than 128 bits"),
    ("x.json", b'{"a": 1%s}' % (b"0" * 5000), "4300 digits"),
    ("x.json", b'{"a": "\\ud800"}', "a: a text has half a character"),
    ("x.json", b'{"\\ud800": 1}', r"the key '\ud800' is not text"),
    ("x.json", b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 levels"),
    ("x.json", b'{"a":' * 3000 + b"1" + b"}" * 3000, "nested more than 64 levels"),
    ("x.json", b"[" * 1_000_000, "nested more than 64 levels"),
    ("x.json", b'{"a": [%s0]}' % (b"0," * 2_000_000), "more than 2,000,000 values"),
    ("x.yaml", b"a: [", "line 1: "),
    ("x.yaml", b"a: &a [x]\nb: *a", "line 2: *a repeats a value; write the value itself"),
    ("x.yaml", b"<<: &a {b: 1}\nc: {<<: *a}", "line 2: *a repeats a value"),
    ("x.yaml", b"a: " + b"[" * 65, "nested more than 64 levels"),
    ("x.yaml", b"[" * 100_000, "nested more than 64 levels"),
    ("x.yaml", b"- " * 60_000, "nested more than 64 levels"),
    ("x.yaml", b"#" * 200_000, "more than 131,072 characters"),
    ("x.yaml", b"a: 2001-01-01", "a: a value is of the type date"),
    ("x.yaml", b"1: 2", "the key 1 is not text"),
    ("x.yaml", b"a: .nan", "a: a number is NaN"),
    ("x.yaml", b"a: 1:" + b"1:" * 400 + b"1.0", "too large"),
    ("x.yaml", b"a: !!python/object:os.system x", "could not determine a constructor"),
]


@pytest.mark.parametrize(("name", "data", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_what_no_file_of_settings_has(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SteadyPhiError) as caught:
        read_object(tmp_path / name, "a list", "write it again")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / name}: cannot be read as a list (") and reason in text
    assert text.endswith("; write it again") and text.isprintable() and len(text) < 600


def test_what_is_read_is_what_the_parser_reads(phi_tiny: Path, tmp_path: Path) -> None:
    for path in phi_tiny.glob("*.json"):
        assert read_object(path) == json.loads(path.read_bytes())
    (tmp_path / "x.json").write_text(f'{{"model_max_length": {10**30}, "é": "\\ud83d\\ude00"}}')
    assert read_object(tmp_path / "x.json") == {"model_max_length": 10**30, "é": "😀"}
    (tmp_path / "x.json").write_text('{"low": NaN}')  # as in a result without an interval
    assert math.isnan(read_object(tmp_path / "x.json", finite=False)["low"])


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    for path, kind in (
        (tmp_path / "pipe", "a pipe or a device"),
        (tmp_path, "a folder"),
        (Path("/dev/zero"), "a pipe"),
    ):
        with pytest.raises(SteadyPhiError, match=f"{path}: is {kind}"):
            read_bytes(path)
    (tmp_path / "long").write_bytes(bytes(11))
    assert read_bytes(tmp_path / "long", 11) == bytes(11)
    with pytest.raises(SteadyPhiError, match="has more than 10 bytes"):
        read_bytes(tmp_path / "long", 10)


def test_links_that_may_be_copied(tmp_path: Path) -> None:
    folder, blob = tmp_path / "folder", tmp_path / "blobs" / ("a" * 40)
    for path in (folder / "LICENSE", blob, tmp_path / "private"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    for name, target in (
        ("inside", "LICENSE"),
        ("cached", blob),
        ("private", tmp_path / "private"),
        ("none", "x"),
    ):
        (folder / name).symlink_to(target)
    for name in ("LICENSE", "inside", "cached"):
        check_copyable(folder / name)
    for name, problem in (
        ("private", "is a link to .*, outside its folder"),
        ("none", "is not a regular file"),
    ):
        with pytest.raises(SteadyPhiError, match=f"{name}: {problem}"):
            check_copyable(folder / name)
