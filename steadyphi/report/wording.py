"""Numbers in the words of the page: shares in percent, differences in percentage points."""

from collections.abc import Mapping
from typing import Any


def percent(share: float | None) -> str:
    """0.375 → 37.5%; nothing for None."""
    return "" if share is None else f"{_plain(100 * share, 1)}%"


def points(difference: float | None) -> str:
    """0.123 → +12.3, with a real minus sign; nothing for None."""
    if difference is None:
        return ""
    rounded = round(100 * difference, 1)
    return f"+{rounded:.1f}" if rounded > 0 else _plain(rounded, 1)


def number(value: float | None) -> str:
    """Three significant digits, for what is neither a share nor a difference."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}".replace("-", "−")


def count(amount: int, noun: str) -> str:
    """1, "question" → 1 question; 2 → 2 questions."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def share_interval(entry: Mapping[str, Any]) -> str:
    """Return the interval of an entry with `low` and `high` in percent, or nothing."""
    return f"{percent(entry['low'])} to {percent(entry['high'])}" if _bounded(entry) else ""


def points_interval(entry: Mapping[str, Any]) -> str:
    """Return the interval of an entry with `low` and `high` in points, or nothing."""
    return f"{points(entry['low'])} to {points(entry['high'])}" if _bounded(entry) else ""


def listed(words: list[str]) -> str:
    """["a", "b", "c"] → a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _bounded(entry: Mapping[str, Any]) -> bool:
    return entry.get("low") is not None and entry.get("high") is not None


def _plain(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-0.0", "0.0").replace("-", "−")
