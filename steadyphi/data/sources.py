"""Where instruction data and questions come from: the textbook's generator, or a file of rows."""

import itertools
import json
import random
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steadyphi.config import Prepare, Task
from steadyphi.data import textbook
from steadyphi.data.store import Item
from steadyphi.errors import SteadyPhiError


@dataclass(frozen=True)
class Pair:
    """One piece of instruction data, not yet in any prompt format."""

    id: str
    question: str
    response: str


@dataclass(frozen=True)
class Material:
    """All that `prepare` works on: no question stands in two of the three."""

    train: list[Pair]
    valid: list[Pair]
    items: list[Item]


def load(settings: Prepare, file: Path) -> Material:
    """Return training pairs, validation pairs and evaluation items as the settings say.

    file: the data file, for `jsonl` sources.
    Raises SteadyPhiError for a file, row or column that cannot be used, named.
    """
    rows = Rows(file, settings) if "jsonl" in (settings.source, settings.task.source) else None
    items = _items(settings, rows)
    questions = _pairs(settings, rows)
    valid, pairs = questions[: settings.valid], list(itertools.chain(*questions[settings.valid :]))
    if not pairs:
        raise SteadyPhiError(
            f"{settings.data_file}: {len(questions)} questions beside the {len(items)} for evaluation "
            f"are too few for data.valid of {settings.valid}; lower data.valid or suite.items"
        )
    return Material(pairs[: settings.examples], list(itertools.chain(*valid)), items)


def _pairs(settings: Prepare, rows: "Rows | None") -> list[list[Pair]]:
    """Return the instruction data, one list a question: rows that ask the same stay together."""
    if settings.source == "textbook":
        assert settings.examples  # compose sees to it, and to the templates
        asked = textbook.questions("finetune", settings.seed, settings.valid + settings.examples)
        return [[Pair(f"finetune-{n}", q.text, q.answer)] for n, q in enumerate(asked)]
    assert rows is not None and settings.instruction and settings.response
    return [
        [Pair(row.id, row.text(settings.instruction), row.text(settings.response)) for row in group]
        for group in rows.remaining()
    ]


def _items(settings: Prepare, rows: "Rows | None") -> list[Item]:
    if settings.task.source == "textbook":
        asked = textbook.questions("evaluate", settings.seed, settings.items)
        return [
            Item(f"evaluate-{n}", q.skill, q.text, q.choices, q.choices.index(q.answer))
            for n, q in enumerate(asked)
        ]
    assert rows is not None
    distinct = sorted({_final_answer(row, settings.task) for row in rows.all})
    return _items_of_rows(rows.take(settings.items), distinct, settings.task, settings.seed)


def _items_of_rows(rows: "Sequence[Row]", distinct: list[str], task: Task, seed: int) -> list[Item]:
    """Make multiple-choice items; where the data has no wrong choices, other rows' answers serve."""
    assert task.question and task.answer
    items = []
    for row in rows:
        answer = _final_answer(row, task)
        if task.choices is None:
            choices = _draw_choices(row, answer, distinct, task.n_choices, random.Random(f"{seed} {row.id}"))
        else:
            choices = row.options(task.choices, answer)
        items.append(Item(row.id, task.name, row.text(task.question), tuple(choices), choices.index(answer)))
    return items


def _draw_choices(row: "Row", answer: str, others: list[str], count: int, rng: random.Random) -> list[str]:
    """Return `count` choices, the answer among other rows' answers, in random order.

    The others are as long as the answer, or nearly: a sum of log-probabilities favours what is short,
    and a model that knows nothing would find `5` among `49200` and `580`. For the same reason none is
    the beginning of another: `51` is never likelier than `5`.
    """
    choices = [answer]
    for other in sorted(rng.sample(others, len(others)), key=lambda text: abs(len(text) - len(answer))):
        if not any(other.startswith(c) or c.startswith(other) for c in choices):
            choices.append(other)
        if len(choices) == count:
            rng.shuffle(choices)
            return choices
    raise SteadyPhiError(
        f"{row.where}: too few different answers in the file to draw {count} choices for it; "
        "lower task.n_choices, or name a column of choices in task.choices"
    )


def _final_answer(row: "Row", task: Task) -> str:
    assert task.answer
    text = row.text(task.answer)
    if task.answer_pattern is None:
        return text
    found = re.search(task.answer_pattern, text)
    if not found or not found[1]:
        raise SteadyPhiError(f"{row.where}: no answer matches task.answer_pattern {task.answer_pattern!r}")
    return found[1].strip()


@dataclass(frozen=True)
class Row:
    """One row of a data file and its place in it, counted from 1."""

    file: Path
    number: int
    values: dict[str, Any]

    @property
    def id(self) -> str:
        """A name for the row that stays the same however the rows are shuffled."""
        return f"row-{self.number}"

    @property
    def where(self) -> str:
        """The row's place, for errors."""
        return f"{self.file}: row {self.number}"

    def text(self, template: str) -> str:
        """Fill `{column}`s of a template; SteadyPhiError when a column is absent or empty."""
        return re.sub(r"\{([^{}]+)\}", lambda m: self._column(m[1]), template).strip()

    def options(self, column: str, answer: str) -> list[str]:
        """Return the choices in `column`, a list that must contain the answer."""
        value = self.values.get(column)
        if not isinstance(value, list) or len(value) < 2:
            raise SteadyPhiError(f"{self.where}: {column} should be a list of at least two choices")
        choices = [text for v in value if (text := _plain(v))]
        if len(set(choices)) < len(value):
            raise SteadyPhiError(
                f"{self.where}: {column} should hold texts or numbers, none empty, none twice"
            )
        if answer not in choices:
            raise SteadyPhiError(f"{self.where}: the answer {answer!r} is not among the choices in {column}")
        return choices

    def _column(self, name: str) -> str:
        if name not in self.values:
            columns = ", ".join(map(str, self.values))
            raise SteadyPhiError(f"{self.where}: there is no column {name!r}; the columns are {columns}")
        text = _plain(self.values[name])
        if not text:
            raise SteadyPhiError(f"{self.where}: the column {name!r} should hold a text or a number")
        return text


class Rows:
    """The rows of a file in a seeded order, each handed out once, rows of one question together."""

    def __init__(self, file: Path, settings: Prepare) -> None:
        self.all = read_rows(file)
        templates = [t for t in (settings.instruction, settings.task.question) if t]
        groups: dict[str, list[Row]] = {}
        for row in self.all:
            # A question that stands there twice, with whatever answer, must not be trained on and asked.
            key = " ".join(row.text(templates[-1]).casefold().split())
            groups.setdefault(key, []).append(row)
        self._groups = list(groups.values())
        random.Random(f"rows {settings.seed}").shuffle(self._groups)

    def take(self, count: int) -> list[Row]:
        """Return one row of each of the next questions, `count` at most."""
        taken, self._groups = self._groups[:count], self._groups[count:]
        return [group[0] for group in taken]

    def remaining(self) -> list[list[Row]]:
        """Return all rows not yet handed out, one list a question."""
        return self._groups


def read_rows(file: Path) -> list[Row]:
    """Read a .jsonl file (an object a line), a .json file (a list of objects), a .csv or a .parquet file.

    JSON is read as it stands; `datasets`, which makes dates and floats of what looks like them, reads
    the tables. Equal rows count once. Raises SteadyPhiError with the row at fault.
    """
    if not file.is_file():
        raise SteadyPhiError(f"{file}: no such file; set data_file in params.yaml to yours")
    try:
        values = READERS[file.suffix](file)
    except UnicodeDecodeError as error:
        raise SteadyPhiError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
    seen: set[str] = set()
    rows = []
    for number, row in enumerate(values, start=1):
        if not isinstance(row, dict):
            raise SteadyPhiError(f'{file}: row {number}: should be a JSON object such as {{"question": "…"}}')
        content = json.dumps(row, sort_keys=True, default=str)
        if row and content not in seen:
            seen.add(content)
            rows.append(Row(file, number, row))
    if not rows:
        raise SteadyPhiError(f"{file}: there are no rows in it")
    return rows


def _read_jsonl(file: Path) -> list[Any]:
    rows = []
    # Not splitlines, which also ends a line at U+2028, a letter that JSON texts may hold.
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        try:
            rows.append(json.loads(line) if line.strip() else {})  # so that rows are counted as lines
        except ValueError as error:
            raise SteadyPhiError(f"{file}: row {number}: not JSON ({error})") from None
    return rows


def _read_json(file: Path) -> list[Any]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SteadyPhiError(f"{file}: not JSON ({error})") from None
    if not isinstance(rows, list):
        raise SteadyPhiError(f"{file}: should be a list of objects; for an object a line call it .jsonl")
    return rows


def _read_table(file: Path) -> list[Any]:
    import datasets

    datasets.disable_progress_bars()
    read = datasets.Dataset.from_csv if file.suffix == ".csv" else datasets.Dataset.from_parquet
    with tempfile.TemporaryDirectory() as cache:  # its own cache would know an edited file by its date alone
        try:
            return list(read(str(file), cache_dir=cache, keep_in_memory=True))
        except Exception as error:  # datasets wraps every cause into exceptions of its own
            reason = " ".join(str(error.__cause__ or error).split())
            raise SteadyPhiError(f"{file}: cannot be read as a table ({reason})") from None


READERS = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_table, ".parquet": _read_table}


def _plain(value: Any) -> str | None:
    """Return a text or number as text, None for anything else; 51.0 becomes 51, as an answer is written."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, str | int | float) else None
