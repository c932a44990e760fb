"""Runs work in a few threads with one progress line, and stops quickly when the process is interrupted."""

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
GRACE = 1.0  # seconds to wait for threads to stop; one that waits for the network needs longer


def say(text: str) -> None:
    """Write the text on its own line of stderr. On a terminal, it replaces the progress line."""
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{start}{text}", file=sys.stderr, flush=True)


class Stopped(Exception):
    """Raised in a thread if another thread has failed or the work was stopped."""


class Shared:
    """The state shared by the threads of one fetch: the progress line and the stop event."""

    def __init__(self, label: str, total: int) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._progress = Progress(label, total, "B")

    def check(self) -> None:
        """Raise Stopped if the stop event is set."""
        if self.stop.is_set():
            raise Stopped

    def add(self, amount: int) -> None:
        """Count received bytes. Raise Stopped if the stop event is set."""
        self.check()
        with self._lock:
            self._progress.add(amount)

    def skip(self, amount: int) -> None:
        """Count bytes that already exist. A negative amount is the number of bytes to receive again."""
        self.check()
        with self._lock:
            self._progress.skip(amount)

    def close(self) -> None:
        """Write the final progress line."""
        with self._lock:
            self._progress.close()


def for_each(items: Sequence[T], work: Callable[[T], R], shared: Shared) -> list[R]:
    """Return `[work(item) for item in items]`, computed in up to four threads, in this order.

    The first failure stops the other threads and is raised. The same holds for Ctrl-C and similar
    exceptions. The threads are daemons, because at exit Python waits for the threads of a thread pool.
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
                # Waits are short, because a signal just before a wait is only handled after it.
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
