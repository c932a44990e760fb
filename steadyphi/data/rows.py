"""Rows of data and their columns, read from a file or from a split on the Hub."""

import datetime
import decimal
import hashlib
import math
import random
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from steadyphi.errors import SteadyPhiError

T = TypeVar("T")
NAMED = 10  # the maximum number of rows that an error lists
FIELD = re.compile(r"(\s*)\{([^{}]+)\}")  # of a template
WRITTEN = datetime.date | datetime.time | datetime.timedelta | decimal.Decimal  # cells of tables
AGAIN = re.compile(r"(?<=\d)-again-\d+$")  # at the end of an id, see `again`
END_STRINGS = ("<|endoftext|>", "</s>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<eos>", "<end_of_turn>")


@dataclass(frozen=True, slots=True)
class Row:
    """One row and its position in its file or split, counted from 1.

    source: the file, or the data set and its split; used in error messages.
    part: the file or source by a shorter name, if there are several.
    system: the system text of its question, if it is a dialogue with one.
    """

    source: str
    number: int
    values: dict[str, Any]
    part: str = ""
    system: str = ""

    @property
    def id(self) -> str:
        """A name for the row that does not depend on the order of the rows."""
        return f"{self.part}-row-{self.number}" if self.part else f"row-{self.number}"

    @property
    def where(self) -> str:
        """The row's source and number, for error messages."""
        return f"{self.source}: row {self.number}"

    def text(self, template: str) -> str:
        """Fill in the `{column}` fields of a template; SteadyPhiError if a column is absent or empty.

        A field `{column?}` may be absent or empty. It is then left out with the white space before it.
        """
        return FIELD.sub(self._field, template).strip()

    def texts(self, column: str) -> list[str]:
        """Return the list of texts and numbers in `column`, as texts; two or more, none empty."""
        value = self.value(column)
        inner = [k for k, v in value.items() if isinstance(v, list)] if isinstance(value, dict) else []
        if inner:
            raise SteadyPhiError(
                f"{self.where}: {column} is an object; name a list in it: {column}.{inner[0]}"
            )
        if not isinstance(value, list) or len(value) < 2:
            raise SteadyPhiError(f"{self.where}: {column} should be a list of at least two choices")
        texts = [text for v in value if (text := plain(v))]
        if len(texts) < len(value):
            raise SteadyPhiError(f"{self.where}: {column} should hold texts or numbers, none empty")
        return texts

    def value(self, column: str) -> Any:
        """Return the value of a column; `choices.text` is the field `text` of the column `choices`.

        For a list of mappings, the value is the list of their fields; `choices.0.text` is that of the first.
        """
        if column in self.values:
            return self.values[column]
        value: Any = self.values
        for name in column.split("."):
            if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
                continue
            fields = value if isinstance(value, list) else [value]
            if not fields or not all(isinstance(field, dict) and name in field for field in fields):
                columns = ", ".join(map(str, self.values))
                raise SteadyPhiError(
                    f"{self.where}: there is no column {column!r}; the columns are {columns}"
                )
            value = [f[name] for f in fields] if isinstance(value, list) else value[name]
        return value

    def _field(self, match: re.Match[str]) -> str:
        space, column = match.groups()
        if column.endswith("?") and column not in self.values:
            column = column.removesuffix("?")
            if not self._has(column):
                return ""
        return space + self._cell(column)

    def _has(self, column: str) -> bool:
        """Return whether a column is there and is not blank."""
        try:
            value = self.value(column)
        except SteadyPhiError:
            return False
        return value is not None and plain(value) != ""

    def _cell(self, column: str) -> str:
        text = plain(self.value(column))
        if not text:
            raise SteadyPhiError(f"{self.where}: the column {column!r} should hold a text or a number")
        return text


class Questions:
    """Rows in a seeded random order, grouped by question; each question is handed out once.

    taken: the keys of the questions that were handed out, see `same`. taken_rows: the places of their rows.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        template: str,
        seed: int,
        also: Callable[[Row], str] | None = None,
        digests: Iterable[bytes] | None = None,
    ) -> None:
        """Group rows by their question, which is the text of `template` and the row's system text.

        also: a function that distinguishes rows with equal questions further.
        digests: what `question_digest` returns for each row, if it is known.
        """
        self.rows, self.template = rows, template
        self.taken: set[str] = set()
        self.taken_rows: list[int] = []
        # A question that occurs twice, even with different answers, must not be in training and evaluation.
        if digests is None:
            digests = each(rows, lambda row: question_digest(row, template, also(row) if also else ""))
        self._groups = grouped(digests)
        random.Random(f"rows {seed}").shuffle(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def take(self, count: int) -> list[Row]:
        """Return one row for each of the next questions, at most `count`."""
        taken, self._groups = self._groups[:count], self._groups[count:]
        rows = [self.rows[group[0]] for group in taken]
        self.taken.update(map(self._key, rows))
        self.taken_rows += [group[0] for group in taken]
        return rows

    def remaining(self) -> list[list[int]]:
        """Return the places of all rows not yet handed out, one list per question."""
        return list(self._groups)

    def leave_out(self, keys: Collection[str]) -> None:
        """Hand out no question whose key (see `same`) is one of `keys`."""
        self._groups = [group for group in self._groups if self._key(self.rows[group[0]]) not in keys]

    def _key(self, row: Row) -> str:
        return same(row.text(self.template))


def again(id_: str, times: int) -> str:
    """Return the id of a row that is trained on for the second time (`times` 1), the third, and so on."""
    return f"{id_}-again-{times}" if times else id_


def original(id_: str) -> str:
    """Return the id of the row itself, for an id that `again` may have made."""
    return AGAIN.sub("", id_)


def digest(*texts: str) -> bytes:
    """Return 16 bytes that identify the texts, because a million of them take less memory than the texts."""
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).digest()


def question_digest(row: Row, template: str, also: str = "") -> bytes:
    """Return what identifies a row's question: the text of `template`, the system text and the text `also`.

    Raises SteadyPhiError as `Row.text` does.
    """
    return digest(same(row.text(template)), row.system, also)


def grouped(digests: Iterable[bytes]) -> list[list[int]]:
    """Return the places of equal digests, one list for each, in the order in which they first occur."""
    groups: dict[bytes, list[int]] = {}
    for place, key in enumerate(digests):
        if key in groups:
            groups[key].append(place)
        else:
            groups[key] = [place]
    return list(groups.values())


def same(question: str) -> str:
    """Return the question in normalized case and white space, as a key to compare questions."""
    return " ".join(question.casefold().split())


class Refused:
    """Rows that cannot be used: their number, and the first of them with the reason."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[Row, str]] = []

    def add(self, row: Row, error: SteadyPhiError) -> None:
        """Count a row, which cannot be used because of `error`."""
        self.count += 1
        if len(self._first) < NAMED:
            self._first.append((row, str(error)))

    def error(self) -> SteadyPhiError:
        """Return one error for all rows, with the first ten of them and their number."""
        first, text = self._first[0]
        if self.count == 1:
            return SteadyPhiError(text)
        shown = [
            f"row {row.number}: {text.removeprefix(f'{row.where}: ')}" if row.source == first.source else text
            for row, text in self._first
        ]
        more = f"; and {self.count - NAMED} more" if self.count > NAMED else ""
        return SteadyPhiError(f"{first.source}: {self.count} rows cannot be used: {'; '.join(shown)}{more}")


def each(rows: Iterable[Row], make: Callable[[Row], T]) -> list[T]:
    """Return `make(row)` for each row.

    Raises one SteadyPhiError for all rows that `make` refuses, with the first ten of them and their number.
    """
    values, refused = [], Refused()
    for row in rows:
        try:
            values.append(make(row))
        except SteadyPhiError as error:
            refused.add(row, error)
    if refused.count:
        raise refused.error()
    return values


def without_end_string(text: str) -> str:
    """Return a text without the end-of-document strings of other training recipes at its end.

    SteadyPhi appends the end token itself; the model would learn such a string as ordinary characters.
    """
    while ended := next((end for end in END_STRINGS if text.endswith(end)), None):
        text = text.removesuffix(ended).rstrip()
    return text


def plain(value: Any) -> str | None:
    """Return a text, number, date, time or decimal as text, None for anything else.

    51.0 becomes 51 and 1e-05 becomes 0.00001, as in a written answer. NaN, a blank cell of a table, is
    missing.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else f"{decimal.Decimal(repr(value)):f}"
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    return str(value).strip() if isinstance(value, str | int | WRITTEN) else None
