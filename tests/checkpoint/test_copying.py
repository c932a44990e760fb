"""Bytes, digests and checksums as other libraries compute them, at every size around a chunk's."""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import xxhash

from steadyphi.checkpoint import copying
from steadyphi.checkpoint.copying import Edit, Job, Run
from steadyphi.errors import SteadyPhiError

SIZES = [2, 4, copying.CHUNK - 2, copying.CHUNK, copying.CHUNK + 2, 3 * copying.CHUNK + 6]


def source(tmp_path: Path, size: int) -> tuple[Path, bytes]:
    data = np.random.default_rng(size).normal(0, 1, size // 2).astype(np.float16).tobytes()
    (tmp_path / "source").write_bytes(b"head" + data)
    return tmp_path / "source", data


def copy(tmp_path: Path, runs: list[Run], dtype: str = "float16", edit: Edit | None = None) -> copying.Copied:
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        return copying.copy([Job("t", runs, fd, 3)], dtype, True, lambda _: None, edit or Edit())
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_any_size(tmp_path: Path, size: int, dtype: str) -> None:
    path, data = source(tmp_path, size)
    copied = copy(tmp_path, [Run("p", 0, path, 4, size, "float16")], dtype)
    numbers = torch.frombuffer(bytearray(data), dtype=torch.float16).to(getattr(torch, dtype))
    expected = bytes(numbers.view(torch.uint8).numpy())
    assert (tmp_path / "target").read_bytes() == bytes(3) + expected
    assert copied.checksums == {"t": zlib.crc32(expected)}
    assert copied.digests == {"p": xxhash.xxh3_128(expected).hexdigest()}


def test_pieces_of_parts_are_digested_part_by_part(tmp_path: Path) -> None:
    path, data = source(tmp_path, 1000)
    runs = [Run(part, first, path, 4 + at, 10, "float16") for part, first, at in
            (("a", 0, 20), ("b", 0, 500), ("a", 10, 700), ("b", 10, 0))]  # fmt: skip
    copied = copy(tmp_path, runs)
    a, b = data[20:30] + data[700:710], data[500:510] + data[0:10]
    assert copied.digests == {"a": xxhash.xxh3_128(a).hexdigest(), "b": xxhash.xxh3_128(b).hexdigest()}
    assert (tmp_path / "target").read_bytes()[3:] == data[20:30] + data[500:510] + data[700:710] + data[0:10]


@pytest.mark.parametrize("place", [0, 5, copying.CHUNK // 2, copying.CHUNK - 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_found_anywhere(tmp_path: Path, place: int, bad: float) -> None:
    path, data = source(tmp_path, 2 * copying.CHUNK)
    numbers = np.frombuffer(data, np.float16).copy()
    numbers[place] = bad
    path.write_bytes(b"head" + numbers.tobytes())
    with pytest.raises(SteadyPhiError, match="source: p has NaN or infinite"):
        copy(tmp_path, [Run("p", 0, path, 4, len(data), "float16")])


def test_the_largest_numbers_are_none_of_these(tmp_path: Path) -> None:
    path = tmp_path / "source"
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        limits = torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min, 0.0, torch.finfo(dtype).tiny])
        path.write_bytes(bytes(limits.to(dtype).view(torch.uint8).numpy()))
        name = str(dtype).removeprefix("torch.")
        copy(tmp_path, [Run("p", 0, path, 0, path.stat().st_size, name)], name)


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    path, _ = source(tmp_path, 1000)
    with pytest.raises(SteadyPhiError, match="ends within p; was it changed meanwhile"):
        copy(tmp_path, [Run("p", 0, path, 4, 1002, "float16")])


def test_an_edit_sees_the_whole_run_and_is_what_is_written(tmp_path: Path) -> None:
    path, data = source(tmp_path, 2 * copying.CHUNK + 2)
    seen = []

    def double(run: Run, content: memoryview) -> memoryview:
        seen.append((run.part, len(content)))
        return memoryview((np.frombuffer(content, np.float16) * np.float16(2)).data).cast("B")

    runs = [Run(part, 0, path, 4, len(data), "float16") for part in ("p", "q")]
    copied = copy(tmp_path, runs, edit=Edit({"q"}, double))
    expected = (np.frombuffer(data, np.float16) * np.float16(2)).tobytes()
    assert seen == [("q", len(data))]
    assert (tmp_path / "target").read_bytes()[3:] == data + expected
    assert copied.digests["q"] == xxhash.xxh3_128(expected).hexdigest()


def test_one_threads_error_ends_all(tmp_path: Path) -> None:
    path, _ = source(tmp_path, 1000)
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    good = Run("good", 0, path, 4, 1000, "float16")
    bad = Run("bad", 0, path, 900, 1000, "float16")
    done: list[int] = []
    jobs = [Job(str(n), [bad if n == 3 else good], fd, n * 1000) for n in range(5000)]
    with pytest.raises(SteadyPhiError, match="ends within bad"):
        copying.copy(jobs, "float16", True, done.append, Edit())
    os.close(fd)
    assert len(done) < 4000
