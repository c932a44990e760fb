"""Load instruction data and questions from the textbook generator, from files of rows or from the Hub."""

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from steadyphi.data import textbook
from steadyphi.data.choices import Asker, offered
from steadyphi.data.hub_rows import read_hub, usable
from steadyphi.data.row_files import read_rows
from steadyphi.data.rows import Questions, Row, each, same, without_end_string
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.item import Item
from steadyphi.settings.schema import Prepare, Task
from steadyphi.settings.values import rows_suffix


@dataclass(frozen=True)
class Pair:
    """One instruction and its response, not yet in a prompt format."""

    id: str
    question: str
    response: str
    ended: bool = False  # the response ended with the text of an end token, which was removed


@dataclass(frozen=True)
class Asked:
    """The evaluation items and the examples of few-shot prompts; no question is both."""

    items: list[Item]
    shots: list[Item]
    keys: set[str]  # the keys of all their questions, see `rows.same`
    unusable: int  # the number of rows of the Hub that cannot be used


@dataclass(frozen=True)
class Material:
    """The input of `prepare`; no question is in more than one of the four lists."""

    train: list[Pair]
    valid: list[Pair]
    items: list[Item]
    shots: list[Item]
    unusable: int


def load(settings: Prepare, file: Path) -> Material:
    """Return training pairs, validation pairs, evaluation items and few-shot examples.

    `file` is the data file. A task may read its questions from another file (`settings.task_file`) or from
    the Hub. Questions used in evaluation or as few-shot examples are left out of training.
    Raises SteadyPhiError that names the file, row or column that cannot be used.
    """
    questions, skipped = _questions(settings, file)
    asked = _asked(settings, questions)
    groups = _pairs(settings, questions)
    groups = [group for group in groups if same(group[0].question) not in asked.keys]
    valid, pairs = groups[: settings.valid], list(itertools.chain(*groups[settings.valid :]))
    if not pairs:
        raise SteadyPhiError(
            f"{settings.data_file}: {len(groups)} questions beside the {len(asked.items)} for evaluation "
            f"are too few for prepare.valid of {settings.valid}; lower prepare.valid or prepare.items"
        )
    valid_pairs = list(itertools.chain(*valid))
    return Material(
        pairs[: settings.examples], valid_pairs, asked.items, asked.shots, asked.unusable + skipped
    )


def _questions(settings: Prepare, file: Path) -> tuple[Questions | None, int]:
    """Return the rows of the data file (None for the textbook) and the number of skipped bad rows."""
    if settings.source == "textbook":
        return None, 0
    asked_too = settings.task.source == "jsonl" and _task_file(settings) is None
    template = settings.task.question if asked_too else settings.instruction
    assert template  # compose ensures it
    rows = read_rows(file)
    usable = _usable(rows, settings)
    return Questions(usable, template, settings.seed), len(rows) - len(usable)


def _usable(rows: list[Row], settings: Prepare) -> list[Row]:
    """Return the rows with an instruction and a response; bad rows raise one error or are skipped."""
    instruction, response = settings.instruction, settings.response
    assert instruction and response  # compose ensures it
    if settings.bad_rows == "refuse":
        each(rows, lambda row: _pair(row, instruction, response))
        return rows
    usable = []
    for row in rows:
        with contextlib.suppress(SteadyPhiError):
            _pair(row, instruction, response)
            usable.append(row)
    if not usable:
        raise SteadyPhiError(f"{rows[0].source}: no row has {instruction} and {response}")
    return usable


def _pairs(settings: Prepare, questions: Questions | None) -> list[list[Pair]]:
    """Return the instruction data, one list per question: rows with the same question stay together."""
    if questions is None:
        assert settings.examples  # compose ensures it, and the templates
        generated = textbook.questions("finetune", settings.seed, settings.valid + settings.examples)
        return [[Pair(f"finetune-{n}", q.text, q.answer)] for n, q in enumerate(generated)]
    assert settings.instruction and settings.response
    instruction, response = settings.instruction, settings.response
    groups = questions.remaining()
    pairs = each(itertools.chain(*groups), lambda row: _pair(row, instruction, response))
    numbered = iter(pairs)
    return [list(itertools.islice(numbered, len(group))) for group in groups]


def _pair(row: Row, instruction: str, response: str) -> Pair:
    """Return a row's instruction and response; an end-of-document string is removed from the response."""
    whole = row.text(response)
    text = without_end_string(whole)
    if not text:
        raise SteadyPhiError(f"{row.where}: the response is nothing but {whole}")
    return Pair(row.id, row.text(instruction), text, ended=text != whole)


def _task_file(settings: Prepare) -> Path | None:
    """Return the file of the questions, or None if it is the data file.

    Unless the user names a file of rows, `task_file` is the textbook generator or the data file.
    """
    file = Path(settings.task_file)
    return file if settings.task_file != settings.data_file and rows_suffix(file.name) else None


def _asked(settings: Prepare, questions: Questions | None) -> Asked:
    """Return the items and few-shot examples; `questions` are the data file's, each handed out once."""
    if settings.task.source == "textbook":
        return _asked_of_textbook(settings)
    if settings.task.source == "hub":
        return _asked_of_hub(settings)
    if file := _task_file(settings):
        assert settings.task.question
        questions = Questions(
            read_rows(file), settings.task.question, settings.seed, _choices_of(settings.task)
        )
    assert questions is not None  # compose ensures it
    items = _items(questions, _most(questions, settings), settings)
    return _asking(items, _items(questions, settings.shots, settings), [questions])


def _asked_of_textbook(settings: Prepare) -> Asked:
    drawn = textbook.questions("evaluate", settings.seed, settings.items + settings.shots)
    items = [
        Item(f"evaluate-{n}", q.skill, q.text, q.choices, q.choices.index(q.answer))
        for n, q in enumerate(drawn)
    ]
    return _asking(items[: settings.items], items[settings.items :], [])


def _asked_of_hub(settings: Prepare) -> Asked:
    task = settings.task
    assert task.split
    questions, unusable = _hub_questions(settings, task.split)
    if task.shots_split is None:
        items = _items(questions, _most(questions, settings), settings)
        return _asking(items, _items(questions, settings.shots, settings), [questions], unusable)
    items = _items(questions, settings.items, settings)
    shown, more = _hub_questions(settings, task.shots_split)
    shown.leave_out(questions.taken)
    shots = _items(shown, settings.shots, settings)
    named = [replace(shot, id=f"{task.shots_split}-{shot.id}") for shot in shots]  # each split numbers from 1
    return _asking(items, named, [questions, shown], unusable + more)


def _hub_questions(settings: Prepare, split: str) -> tuple[Questions, int]:
    """Return a split's questions, and the number of its rows that cannot be used."""
    assert settings.task.question
    rows = read_hub(settings.task, split)
    kept = usable(rows, settings.task)
    questions = Questions(kept, settings.task.question, settings.seed, _choices_of(settings.task))
    return questions, len(rows) - len(kept)


def _choices_of(task: Task) -> Callable[[Row], str] | None:
    """Return the function that distinguishes rows with equal questions by their choices.

    `Which is right?` with other choices is another question.
    """
    return None if task.choices is None else lambda row: "\n".join(offered(row, task)[0])


def _most(questions: Questions, settings: Prepare) -> int:
    """Return the number of evaluation items; at most a fifth of the questions is kept for few-shot use."""
    return max(1, min(settings.items, len(questions) - min(settings.shots, len(questions) // 5)))


def _items(questions: Questions, count: int, settings: Prepare) -> list[Item]:
    asker = Asker(questions.rows, settings.task, settings.seed)
    return each(questions.take(count), asker.item)


def _asking(items: list[Item], shots: list[Item], taken: list[Questions], unusable: int = 0) -> Asked:
    # The rows' keys are included too, because an item's question lacks the choices that its row lists.
    keys = {same(item.question) for item in [*items, *shots]}.union(*(questions.taken for questions in taken))
    return Asked(items, shots, keys, unusable)
