"""Where instruction data and questions come from: the textbook's generator, or a file of rows."""

import itertools
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steadyphi.config import Prepare, Task
from steadyphi.data import textbook
from steadyphi.errors import SteadyPhiError


@dataclass(frozen=True)
class Pair:
    """One piece of instruction data, not yet in any prompt format."""

    id: str
    question: str
    response: str


@dataclass(frozen=True)
class Item:
    """One evaluation question with its choices; `answer` is the index of the right one."""

    id: str
    skill: str
    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Material:
    """All that `prepare` works on: no question stands in two of the three."""

    train: list[Pair]
    valid: list[Pair]
    items: list[Item]


def load(settings: Prepare, file: Path, cache: Path) -> Material:
    """Return training pairs, validation pairs and evaluation items as the settings say.

    file: the data file, for `jsonl` sources; cache: where `datasets` may keep its own copies.
    Raises SteadyPhiError for a file, row or column that cannot be used, named.
    """
    rows = Rows(file, cache, settings.seed) if "jsonl" in (settings.source, settings.task.source) else None
    items = _items(settings, rows)
    pairs = _pairs(settings, rows)
    train = pairs[settings.valid :]
    if not train or len(pairs) < settings.valid:
        raise SteadyPhiError(
            f"{settings.data_file}: {len(pairs)} usable rows beside the {len(items)} evaluation items "
            f"are too few for data.valid of {settings.valid}; lower data.valid or suite.items"
        )
    return Material(train[: settings.examples], pairs[: settings.valid], items)


def _pairs(settings: Prepare, rows: "Rows | None") -> list[Pair]:
    if settings.source == "textbook":
        count = settings.valid + (settings.examples or 2000)
        asked = textbook.questions("finetune", settings.seed, count)
        return [Pair(f"finetune-{n}", q.text, q.answer) for n, q in enumerate(asked)]
    assert rows is not None and settings.instruction and settings.response  # compose sees to it
    return [
        Pair(row.id, row.text(settings.instruction), row.text(settings.response)) for row in rows.remaining()
    ]


def _items(settings: Prepare, rows: "Rows | None") -> list[Item]:
    if settings.task.source == "textbook":
        asked = textbook.questions("evaluate", settings.seed, settings.items)
        return [
            Item(f"evaluate-{n}", q.skill, q.text, q.choices, q.choices.index(q.answer))
            for n, q in enumerate(asked)
        ]
    assert rows is not None
    return _items_of_rows(rows.take(settings.items), settings.task, settings.seed)


def _items_of_rows(rows: "Sequence[Row]", task: Task, seed: int) -> list[Item]:
    """Make multiple-choice items; where the data has no wrong choices, other rows' answers serve."""
    assert task.question and task.answer
    answers = [_final_answer(row, task) for row in rows]
    distinct = sorted(set(answers))
    items = []
    for row, answer in zip(rows, answers, strict=True):
        if task.choices is None:
            choices = _draw_choices(row, answer, distinct, task.n_choices, random.Random(f"{seed} {row.id}"))
        else:
            choices = row.options(task.choices, answer)
        items.append(Item(row.id, task.name, row.text(task.question), tuple(choices), choices.index(answer)))
    return items


def _draw_choices(row: "Row", answer: str, others: list[str], count: int, rng: random.Random) -> list[str]:
    """Return `count` choices, the answer among other rows' answers, in random order.

    None is the beginning of another: `51` is never likelier than `5`, whatever the question.
    """
    choices = [answer]
    for other in rng.sample(others, len(others)):
        if not any(other.startswith(c) or c.startswith(other) for c in choices):
            choices.append(other)
        if len(choices) == count:
            rng.shuffle(choices)
            return choices
    raise SteadyPhiError(
        f"{row.where}: too few different answers in the evaluation rows to draw {count} choices for it; "
        "lower task.n_choices, or name a column of choices in task.choices"
    )


def _final_answer(row: "Row", task: Task) -> str:
    assert task.answer
    text = row.text(task.answer)
    if task.answer_pattern is None:
        return text
    found = re.search(task.answer_pattern, text)
    if not found:
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
        choices = [_plain(v) for v in value]
        if answer not in choices:
            raise SteadyPhiError(f"{self.where}: the answer {answer!r} is not among the choices in {column}")
        return choices

    def _column(self, name: str) -> str:
        value = self.values.get(name)
        if name not in self.values:
            raise SteadyPhiError(
                f"{self.where}: there is no column {name!r}; the columns are {', '.join(self.values)}"
            )
        if value is None or not str(value).strip():
            raise SteadyPhiError(f"{self.where}: the column {name!r} is empty")
        return _plain(value)


class Rows:
    """The rows of a .jsonl or .json file in a seeded order, each handed out once."""

    def __init__(self, file: Path, cache: Path, seed: int) -> None:
        self._rows: Iterator[Row]
        rows = read_rows(file, cache)
        random.Random(f"rows {seed}").shuffle(rows)
        self._rows = iter(rows)

    def take(self, count: int) -> list[Row]:
        """Return the next rows, `count` at most."""
        return list(itertools.islice(self._rows, count))

    def remaining(self) -> Iterator[Row]:
        """Yield all rows not yet handed out."""
        return self._rows


def read_rows(file: Path, cache: Path) -> list[Row]:
    """Read a .jsonl file (an object a line) or .json file (a list of objects), equal rows once.

    The reading is `datasets`'; when it fails, the line at fault is looked for and named.
    """
    import datasets

    if not file.is_file():
        raise SteadyPhiError(f"{file}: no such file; set data_file in params.yaml to your .jsonl or .json")
    datasets.disable_progress_bars()
    try:
        table = datasets.Dataset.from_json(str(file), cache_dir=str(cache), keep_in_memory=True)
    except Exception as error:  # datasets wraps every cause into exceptions of its own
        raise SteadyPhiError(
            _fault(file) or f"{file}: cannot be read: {' '.join(str(error).split())}"
        ) from None
    seen: set[str] = set()
    rows = []
    for number, values in enumerate(table, start=1):
        content = json.dumps(values, sort_keys=True, default=str)
        if content not in seen:  # a row twice could stand in training and evaluation both
            seen.add(content)
            rows.append(Row(file, number, dict(values)))
    return rows


def _fault(file: Path) -> str | None:
    """Return what is wrong with the first bad line of a .jsonl file."""
    if file.suffix != ".jsonl":
        return None
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f'{file}: row {number}: should be a JSON object such as {{"question": …}}'
        except ValueError as error:
            return f"{file}: row {number}: not JSON ({error})"
    return None


def _plain(value: Any) -> str:
    """Return a value as text; 51.0 becomes 51, for that is how an answer is written."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
