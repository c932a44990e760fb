"""Rows of data and their columns, read from a file or from a split on the Hub."""

import random
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from steadyphi.errors import SteadyPhiError

T = TypeVar("T")
NAMED = 10  # the maximum number of rows that an error lists
END_STRINGS = ("<|endoftext|>", "</s>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<eos>", "<end_of_turn>")


@dataclass(frozen=True)
class Row:
    """One row and its position in its file or split, counted from 1."""

    source: str  # the file, or the data set and its split; used in error messages
    number: int
    values: dict[str, Any]

    @property
    def id(self) -> str:
        """A name for the row that does not depend on the order of the rows."""
        return f"row-{self.number}"

    @property
    def where(self) -> str:
        """The row's source and number, for error messages."""
        return f"{self.source}: row {self.number}"

    def text(self, template: str) -> str:
        """Fill in the `{column}` fields of a template; SteadyPhiError if a column is absent or empty."""
        return re.sub(r"\{([^{}]+)\}", lambda m: self._cell(m[1]), template).strip()

    def texts(self, column: str) -> list[str]:
        """Return the list of texts and numbers in `column`, as texts; two or more, none empty."""
        value = self.value(column)
        if not isinstance(value, list) or len(value) < 2:
            raise SteadyPhiError(f"{self.where}: {column} should be a list of at least two choices")
        texts = [text for v in value if (text := plain(v))]
        if len(texts) < len(value):
            raise SteadyPhiError(f"{self.where}: {column} should hold texts or numbers, none empty")
        return texts

    def value(self, column: str) -> Any:
        """Return the value of a column; `choices.text` is the field `text` of the column `choices`.

        For a list of mappings, the value is the list of their fields.
        """
        if column in self.values:
            return self.values[column]
        value: Any = self.values
        for name in column.split("."):
            fields = value if isinstance(value, list) else [value]
            if not fields or not all(isinstance(field, dict) and name in field for field in fields):
                columns = ", ".join(map(str, self.values))
                raise SteadyPhiError(
                    f"{self.where}: there is no column {column!r}; the columns are {columns}"
                )
            value = [f[name] for f in fields] if isinstance(value, list) else value[name]
        return value

    def _cell(self, column: str) -> str:
        text = plain(self.value(column))
        if not text:
            raise SteadyPhiError(f"{self.where}: the column {column!r} should hold a text or a number")
        return text


class Questions:
    """Rows in a seeded random order, grouped by question; each question is handed out once."""

    def __init__(
        self, rows: Sequence[Row], template: str, seed: int, also: Callable[[Row], str] | None = None
    ) -> None:
        """Group rows by the text of `template`, which is a row's question, and by the result of `also`."""
        self.rows = rows
        self.taken: set[str] = set()  # the keys of the questions handed out, see `same`
        groups: dict[tuple[str, str], list[Row]] = {}
        # A question that occurs twice, even with different answers, must not be in training and evaluation.
        keys = each(rows, lambda row: (same(row.text(template)), also(row) if also else ""))
        for key, row in zip(keys, rows, strict=True):
            groups.setdefault(key, []).append(row)
        self._groups = [(key, group) for (key, _), group in groups.items()]
        random.Random(f"rows {seed}").shuffle(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def take(self, count: int) -> list[Row]:
        """Return one row for each of the next questions, at most `count`."""
        taken, self._groups = self._groups[:count], self._groups[count:]
        self.taken.update(key for key, _ in taken)
        return [rows[0] for _, rows in taken]

    def remaining(self) -> list[list[Row]]:
        """Return all rows not yet handed out, one list per question."""
        return [rows for _, rows in self._groups]

    def leave_out(self, keys: Collection[str]) -> None:
        """Hand out no question whose key (see `same`) is one of `keys`."""
        self._groups = [(key, rows) for key, rows in self._groups if key not in keys]


def same(question: str) -> str:
    """Return the question in normalized case and white space, as a key to compare questions."""
    return " ".join(question.casefold().split())


def each(rows: Iterable[Row], make: Callable[[Row], T]) -> list[T]:
    """Return `make(row)` for each row.

    Raises one SteadyPhiError for all rows that `make` refuses, with the first ten of them and their number.
    """
    values, refused = [], []
    for row in rows:
        try:
            values.append(make(row))
        except SteadyPhiError as error:
            refused.append((row, str(error)))
    if len(refused) > 1:
        shown = [f"row {row.number}: {text.removeprefix(f'{row.where}: ')}" for row, text in refused[:NAMED]]
        more = f"; and {len(refused) - NAMED} more" if len(refused) > NAMED else ""
        raise SteadyPhiError(
            f"{refused[0][0].source}: {len(refused)} rows cannot be used: {'; '.join(shown)}{more}"
        )
    if refused:
        raise SteadyPhiError(refused[0][1])
    return values


def without_end_string(text: str) -> str:
    """Return a text without the end-of-document strings of other training recipes at its end.

    SteadyPhi appends the end token itself; the model would learn such a string as ordinary characters.
    """
    while ended := next((end for end in END_STRINGS if text.endswith(end)), None):
        text = text.removesuffix(ended).rstrip()
    return text


def plain(value: Any) -> str | None:
    """Return a text or number as text, None for anything else; 51.0 becomes 51, as in a written answer."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, str | int | float) else None
