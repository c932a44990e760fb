"""Numbers as text: shares in percent, differences in percentage points, values of measures by their unit."""

from steadyphi.stats.estimate import Measure

Q_MEANING = (
    "q: the p-value of a change, adjusted for all changes of measures of the comparison; of the changes with "
    "a q below 0.05, at most 5% are expected to be false"
)


def percent(share: float | None) -> str:
    """0.375 → 37.5%; an empty string for None."""
    return "" if share is None else f"{_fixed(100 * share)}%"


def points(difference: float | None) -> str:
    """0.123 → +12.3, with a real minus sign; an empty string for None."""
    if difference is None:
        return ""
    rounded = round(100 * difference, 1)
    return f"+{rounded:.1f}" if rounded > 0 else _fixed(rounded)


def unsigned_points(difference: float) -> str:
    """0.123 → 12.3 points, for differences that are not negative."""
    return f"{_fixed(100 * difference)} points"


def number(value: float | None) -> str:
    """Three significant digits, for values that are neither shares nor differences of shares."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}".replace("-", "−")


def probability(value: float | None) -> str:
    """0.0123 → 0.012; below 0.001 as <0.001; an empty string for None."""
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def count(amount: int, noun: str) -> str:
    """1, "question" → 1 question; 2 → 2 questions."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def share_interval(low: float | None, high: float | None) -> str:
    """0.1, 0.25 → 10.0% to 25.0%; an empty string without an interval."""
    return "" if low is None or high is None else f"{percent(low)} to {percent(high)}"


def points_interval(low: float | None, high: float | None) -> str:
    """0.1, 0.25 → +10.0 to +25.0; an empty string without an interval."""
    return "" if low is None or high is None else f"{points(low)} to {points(high)}"


def text(measure: Measure, value: float) -> str:
    """Return a value of a measure by its unit: in percent, in points, or as a number."""
    if measure.unit == "share":
        return percent(value)
    return unsigned_points(value) if measure.unit == "points" else number(value)


def change_text(measure: Measure, change: float) -> str:
    """Return the difference of two values of a measure: in points, or as a number with its sign."""
    if measure.unit in ("share", "points"):
        return f"{points(change)} points"
    return ("+" if change > 0 else "") + number(float(change))


def interval_text(measure: Measure, low: float | None, high: float | None) -> str:
    """Return the interval of a value of a measure; an empty string without an interval."""
    return "" if low is None or high is None else _interval(text(measure, low), text(measure, high))


def change_interval_text(measure: Measure, low: float | None, high: float | None) -> str:
    """Return the interval of the change of a measure; an empty string without an interval."""
    if low is None or high is None:
        return ""
    return _interval(change_text(measure, low), change_text(measure, high))


def listed(words: list[str]) -> str:
    """["a", "b", "c"] → a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _interval(low: str, high: str) -> str:
    return f"{low.removesuffix(' points')} to {high}"


def _fixed(value: float) -> str:
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")
