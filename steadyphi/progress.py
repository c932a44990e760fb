"""A progress line with the rate and the remaining time, for terminals and plain logs."""

import sys
import time


class Progress:
    """Counts completed work and reports it every few seconds.

    On a terminal the line is rewritten in place. Elsewhere each report is a separate line, so
    that a log shows that the work is running.
    """

    def __init__(self, label: str, total: float, unit: str, every: float | None = None) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.terminal = sys.stderr.isatty()
        self.every = every if every is not None else (0.2 if self.terminal else 5.0)
        self.done = self.skipped = 0.0
        self.note = ""
        self.start = self.last = time.monotonic()

    def add(self, amount: float, note: str = "") -> None:
        """Add `amount` to the completed work. `note` is shown after the numbers."""
        self.done += amount
        self.note = note
        now = time.monotonic()
        if now - self.last >= self.every and self.done < self.total:  # `close` writes the last line
            self.last = now
            self._show(self.note, end="" if self.terminal else "\n")

    def skip(self, amount: float) -> None:
        """Add `amount` to the completed work, but not to the rate, so that the remaining time stays correct.

        A negative `amount` means that completed work must be repeated.
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


def sized(count: int) -> str:
    """Return a number of bytes for people, such as "1.50 GB", in decimal units."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count:,} bytes"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _short(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.1f}"
