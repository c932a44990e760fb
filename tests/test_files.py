"""Atomic writing: the old state or the new one, nothing beside it."""

from pathlib import Path

import pytest

from steadyphi.files import atomic_dir, atomic_file, read_csv, write_csv


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
