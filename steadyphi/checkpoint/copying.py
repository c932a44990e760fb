"""Copies the bytes of tensors between files, through a buffer that fits in the CPU cache.

While a chunk is in the buffer, it is checked for NaN, cast to another dtype if requested, hashed for the
manifest and added to the CRC-32 for the zip file. All of this costs little more than the copy itself.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xxhash
from isal.isal_zlib import crc32

from steadyphi.errors import SteadyPhiError

T = TypeVar("T")

CHUNK = 1 << 20  # bytes; fits in the L2 cache of one core
THREADS = min(4, os.cpu_count() or 1)  # two cores are already faster than most disks
# Bit mask of the exponent. NaN and Inf are the numbers with all of these bits set.
_EXPONENT = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000}


@dataclass(frozen=True)
class Run:
    """A contiguous range of bytes in a source file. It has the bytes of `part` from byte `first` on."""

    part: str
    first: int
    path: Path
    offset: int
    nbytes: int
    dtype: str


@dataclass(frozen=True)
class Job:
    """A target tensor. Its runs are written one after another to `fd`, starting at byte `offset`."""

    name: str
    runs: Sequence[Run]
    fd: int
    offset: int


@dataclass(frozen=True)
class Edit:
    """A change to `parts`. Each of their runs is read whole and replaced by the bytes that `new` returns."""

    parts: Collection[str] = ()
    new: Callable[[Run, memoryview], memoryview] = lambda _, data: data


@dataclass(frozen=True)
class Copied:
    """The CRC-32 of each target tensor written, and the XXH3-128 of each part."""

    checksums: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


def copy(
    jobs: Iterable[Job], dtype: str, check_finite: bool, report: Callable[[int], None], edit: Edit
) -> Copied:
    """Run all jobs in a few threads. `report` receives the number of bytes read, from one thread at a time.

    Raises SteadyPhiError for a source that ends too early, a target that cannot be written, and a number
    that is NaN or infinite. The source numbers are checked if `check_finite` is true, and numbers that are
    cast to another dtype are always checked after the cast.
    """
    copied = Copied()

    def keep(worker: "_Worker", job: Job) -> None:
        copied.checksums[job.name] = worker.checksum
        copied.digests.update((part, hash.hexdigest()) for part, hash in worker.hashes.items())

    _in_threads(jobs, lambda: _Worker(dtype, check_finite, edit), _Worker.copy, keep, report)
    return copied


@dataclass(frozen=True)
class Digested:
    """The XXH3-128 of each part, and the parts that have NaN or infinite numbers."""

    digests: dict[str, str] = field(default_factory=dict)
    not_finite: list[str] = field(default_factory=list)


def digest(parts: Mapping[str, Sequence[Run]], report: Callable[[int], None]) -> Digested:
    """Read all parts in a few threads. `report` receives the number of bytes read, from one thread at a time.

    Raises SteadyPhiError for a source that ends too early.
    """
    digested = Digested()

    def keep(worker: "_Worker", part: str) -> None:
        digested.digests[part] = worker.hashes[part].hexdigest()
        if not worker.finite:
            digested.not_finite.append(part)

    _in_threads(
        parts, lambda: _Worker("", False, Edit()), lambda worker, p: worker.digest(p, parts[p]), keep, report
    )
    return digested


def _in_threads(
    tasks: Iterable[T],
    make: Callable[[], "_Worker"],
    do: Callable[["_Worker", T], Iterator[int]],
    keep: Callable[["_Worker", T], None],
    report: Callable[[int], None],
) -> None:
    """Run the tasks in threads with one worker each. One thread at a time calls `keep` or `report`."""
    remaining = iter(tasks)
    stop, lock = threading.Event(), threading.Lock()

    def work() -> None:
        worker = make()
        try:
            while not stop.is_set():
                with lock:
                    task = next(remaining, None)
                if task is None:
                    return
                for done in do(worker, task):
                    with lock:
                        report(done)
                    if stop.is_set():
                        return
                with lock:
                    keep(worker, task)
        except BaseException:
            stop.set()  # an error in one thread stops all threads
            raise
        finally:
            worker.close()

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(work) for _ in range(THREADS)]
        try:
            for future in futures:
                future.result()
        finally:
            stop.set()  # so that Ctrl-C does not wait for the remaining tasks


class _Worker:
    """The buffers and open files of one thread, and the checksums of the tensor that it copies."""

    def __init__(self, dtype: str, check_finite: bool, edit: Edit) -> None:
        self.dtype, self.check_finite, self.edit = dtype, check_finite, edit
        self.buffer = bytearray(CHUNK)
        self.scratch = np.empty(CHUNK, np.uint8)
        self.files: dict[Path, int] = {}
        self.checksum, self.finite = 0, True
        self.hashes: dict[str, Any] = {}

    def close(self) -> None:
        for fd in self.files.values():
            os.close(fd)

    def copy(self, job: Job) -> Iterator[int]:
        """Copy one tensor. Yields the number of bytes read after each chunk."""
        self.checksum, self.hashes = 0, {run.part: xxhash.xxh3_128() for run in job.runs}
        place = job.offset
        for run in job.runs:
            for data in self.chunks(run):
                size = len(data)
                if self.check_finite and not self.is_finite(data, run.dtype):
                    raise SteadyPhiError(f"{run.path}: {run.part} has NaN or infinite numbers")
                if run.dtype != self.dtype:
                    data = _cast(data, run.dtype, self.dtype)
                    if not self.is_finite(data, self.dtype):
                        raise SteadyPhiError(f"{run.path}: {run.part} has no finite {self.dtype}")
                self.hashes[run.part].update(data)
                self.checksum = crc32(data, self.checksum)
                _write(job.fd, data, place)
                place += len(data)
                yield size

    def digest(self, part: str, runs: Sequence[Run]) -> Iterator[int]:
        """Read one part. Yields the number of bytes read after each chunk."""
        self.finite, self.hashes = True, {part: xxhash.xxh3_128()}
        for run in runs:
            for data in self.chunks(run):
                self.finite = self.finite and self.is_finite(data, run.dtype)
                self.hashes[part].update(data)
                yield len(data)

    def chunks(self, run: Run) -> Iterator[memoryview]:
        """Yield the bytes of a run in chunks, which share one buffer. An edited run is yielded whole."""
        if run.part in self.edit.parts:
            yield self.edit.new(run, self.read(run, 0, memoryview(bytearray(run.nbytes))))
            return
        for start in range(0, run.nbytes, CHUNK):
            yield self.read(run, start, memoryview(self.buffer)[: min(CHUNK, run.nbytes - start)])

    def read(self, run: Run, start: int, into: memoryview) -> memoryview:
        if run.path not in self.files:
            self.files[run.path] = os.open(run.path, os.O_RDONLY)
        got = 0
        while got < len(into):
            count = os.preadv(self.files[run.path], [into[got:]], run.offset + start + got)
            if not count:
                raise SteadyPhiError(f"{run.path}: ends within {run.part}; was it changed meanwhile?")
            got += count
        return into

    def is_finite(self, data: memoryview, dtype: str) -> bool:
        exponent, kind = _EXPONENT[dtype], np.uint32 if dtype == "float32" else np.uint16
        bits = np.frombuffer(data, kind)
        for start in range(0, bits.size, CHUNK // bits.itemsize):
            block = bits[start : start + CHUNK // bits.itemsize]
            masked = np.bitwise_and(block, exponent, out=self.scratch.view(kind)[: block.size])
            if masked.max() == exponent:
                return False
        return True


def _cast(data: memoryview, dtype: str, target: str) -> memoryview:
    """Return `data` cast from `dtype` to `target`, rounded to nearest even."""
    import torch  # takes a second to import, and most conversions need no cast

    numbers = torch.frombuffer(data, dtype=getattr(torch, dtype)).to(getattr(torch, target))
    return memoryview(numbers.view(torch.uint8).numpy().data)


def _write(fd: int, data: memoryview, place: int) -> None:
    done = 0
    while done < len(data):
        try:
            done += os.pwrite(fd, data[done:], place + done)
        except OSError as error:
            raise SteadyPhiError(f"the new weights cannot be written: {error.strerror}") from None
