"""One line of progress with rate and time left, on a terminal and in a plain log alike."""

import sys
import time


class Progress:
    """Counts work done and says so every few seconds.

    On a terminal the line is rewritten in place; elsewhere each report is a line of its own, so
    that a log shows that the work goes on.
    """

    def __init__(self, label: str, total: float, unit: str, every: float | None = None) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.terminal = sys.stderr.isatty()
        self.every = every if every is not None else (0.2 if self.terminal else 5.0)
        self.done = self.skipped = 0.0
        self.note = ""
        self.start = self.last = time.monotonic()

    def add(self, amount: float, note: str = "") -> None:
        """Count `amount` more of the work; `note` is shown behind the numbers."""
        self.done += amount
        self.note = note
        now = time.monotonic()
        if now - self.last >= self.every and self.done < self.total:  # the last line is `close`'s
            self.last = now
            self._show(self.note, end="" if self.terminal else "\n")

    def skip(self, amount: float) -> None:
        """Count `amount` as done that took no work of its own, so that the rate and the time left stay true.

        Below zero: done work that has to be done again.
        """
        self.skipped += amount
        self.done += amount

    def close(self) -> None:
        """Write the last line, with the last note."""
        self._show(self.note, end="\n")

    @property
    def rate(self) -> float:
        """Units per second so far."""
        return (self.done - self.skipped) / max(time.monotonic() - self.start, 1e-9)

    def _show(self, note: str, end: str) -> None:
        seconds = time.monotonic() - self.start
        left = (self.total - self.done) / self.rate if self.rate > 0 else 0.0
        times = f"{_clock(seconds)} so far, {_clock(max(left, 0.0))} left"
        share = min(1.0, self.done / self.total) if self.total else 1.0
        text = f"{self.label}: {share:4.0%} | {_short(self.rate)} {self.unit}/s | {times}"
        text += f" | {note}" if note else ""
        start = "\r\x1b[K" if self.terminal else ""
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _short(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.1f}"
