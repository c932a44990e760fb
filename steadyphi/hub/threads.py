"""A few threads, one line of progress, and an end within a moment when the process is told to stop."""

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from steadyphi.progress import Progress

T = TypeVar("T")
R = TypeVar("R")
THREADS = 4
GRACE = 1.0  # seconds that threads get to notice the end; one that waits for the network needs longer


def say(text: str) -> None:
    """Write a line of its own, also where a terminal shows the line of progress."""
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{start}{text}", file=sys.stderr, flush=True)


class Stopped(Exception):
    """Raised inside a thread when the others' work has failed or been stopped."""


class Shared:
    """What the threads of one fetch share: the line of progress and the word to stop."""

    def __init__(self, label: str, total: int) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._progress = Progress(label, total, "B")

    def check(self) -> None:
        """Raise Stopped once the end has been called."""
        if self.stop.is_set():
            raise Stopped

    def add(self, amount: int) -> None:
        """Count bytes that arrived; Stopped once the end has been called."""
        self.check()
        with self._lock:
            self._progress.add(amount)

    def skip(self, amount: int) -> None:
        """Count bytes that were there already, or, below zero, that have to come again."""
        self.check()
        with self._lock:
            self._progress.skip(amount)

    def close(self) -> None:
        """Write the last line."""
        with self._lock:
            self._progress.close()


def for_each(items: Sequence[T], work: Callable[[T], R], shared: Shared) -> list[R]:
    """Return `[work(item) for item in items]`, a few at a time, the first first.

    The first failure stops the others and is raised, and so are Ctrl-C and the like. The threads are
    daemons, for Python would wait at its end for those of a thread pool, however long they take.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(items)):
        waiting.put(number)
    done: queue.SimpleQueue[tuple[int, R | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        while not shared.stop.is_set():
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, work(items[number]), None))
            except BaseException as error:
                done.put((number, None, error))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(THREADS, len(items)))]
    results: dict[int, R] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(_join, threads)
        stack.callback(shared.stop.set)
        for thread in threads:
            thread.start()
        while len(results) < len(items):
            try:
                # In short waits, for a signal that comes just before a wait would be noticed after it.
                number, result, error = done.get(timeout=0.2)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            results[number] = result  # type: ignore[assignment]
        return [results[number] for number in range(len(items))]


def _join(threads: list[threading.Thread]) -> None:
    end = time.monotonic() + GRACE
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, end - time.monotonic()))
