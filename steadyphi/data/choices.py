"""Convert rows to multiple-choice questions: find their choices and the correct one.

Two settings of a task control this. `choices` is one of
    `choices.text`            a column, or a field of a column, that contains a list
    `["{sol1}", "{sol2}"]`    a list of templates, which are filled from columns
    `["no", "yes"]`           a list of constants: the same choices for every row
    `"{input}"`               a text that ends in a list of the choices, one `(A) …` or `- …` per line
    null                      no column: the wrong choices are drawn from other rows' answers
and `answer_is` states how `answer` refers to one of them: as a text, a label, an index (from 0) or a number
(from 1).
"""

import random
import re
from collections.abc import Callable, Sequence

import regex

from steadyphi.data.rows import Row, without_end_string
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.item import Item
from steadyphi.settings.groups import Task

OPTION = re.compile(r"(?:\(([A-Z])\)|-)[ \t]+(\S.*)")
HEADING = re.compile(r"Options:[ \t]*")
LONGEST_SEARCH = 1.0  # seconds for one row; a pattern can take exponential time
MOST_ANSWERS = 20_000  # that wrong choices are drawn from, because each item sorts them
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Reading = Callable[[str, list[str], list[str]], int]  # (answer, choices, labels) -> index of the choice


class Asker:
    """Convert a task's rows to items.

    What one row cannot show, such as how to read the answers, is decided from all rows of the file or split.
    """

    def __init__(self, rows: Sequence[Row], task: Task, seed: int) -> None:
        """Wrong choices may be drawn from any of `rows`. Raises SteadyPhiError as `item` does."""
        self.task, self.seed = task, seed
        self._answers: list[str] = []
        self._read: Reading = READINGS.get(task.answer_is, _as_text)
        if task.choices is None:
            answers = sorted({final_answer(row, task) for row in rows})
            if len(answers) > MOST_ANSWERS:
                answers = random.Random(f"answers {seed}").sample(answers, MOST_ANSWERS)
            self._answers = answers
        elif task.answer_is == "auto":
            self._read = _detect(rows, task)

    def item(self, row: Row) -> Item:
        """Return a row's question with its choices.

        Raises SteadyPhiError that names the row and the problem.
        """
        task = self.task
        assert task.question
        question, skill = row.text(task.question), row.text(task.skill) if task.skill else task.name
        answer = final_answer(row, task)
        if task.choices is None:
            rng = random.Random(f"{self.seed} {row.id}")
            choices = draw_choices(row, answer, self._answers, task.n_choices, rng)
            return Item(row.id, skill, question, tuple(choices), choices.index(answer), row.system)
        choices, labels = offered(row, task)
        right = _checked(self._read, answer, row, choices, labels)
        return Item(row.id, skill, without_options(question, task), tuple(choices), right, row.system)


def offered(row: Row, task: Task) -> tuple[list[str], list[str]]:
    """Return a row's choices and their labels; the labels are A, B, … if `task.labels` is null."""
    assert task.choices is not None
    if _listed(task):
        choices, labels = _options(row, row.text(str(task.choices)))
    else:
        choices = _filled(row, task.choices)
        labels = _filled(row, task.labels) if task.labels else list(LETTERS[: len(choices)])
    if len(set(choices)) < len(choices):
        raise SteadyPhiError(f"{row.where}: two of the choices are alike: {', '.join(choices)}")
    if len(labels) != len(choices):
        raise SteadyPhiError(
            f"{row.where}: {len(choices)} choices have {len(labels)} labels; see prepare.task.labels"
        )
    return choices, labels


def _listed(task: Task) -> bool:
    return isinstance(task.choices, str) and "{" in task.choices


def _options(row: Row, text: str) -> tuple[list[str], list[str]]:
    """Return the choices at the end of a text, and their labels: the letters before them, or A, B, …"""
    _, options = _split(text)
    if not options:
        raise SteadyPhiError(
            f"{row.where}: the text does not end in a list of choices, such as (A) … per line"
        )
    labels = [option[1] or LETTERS[n % len(LETTERS)] for n, option in enumerate(options)]
    return [option[2].strip() for option in options], labels


def _split(text: str) -> tuple[str, list[re.Match[str]]]:
    """Return a text without the list of two choices or more at its end, and the match of each choice.

    The lines are read from the last one up, so each line is read once.
    """
    lines = text.rstrip().split("\n")
    options: list[re.Match[str]] = []
    while lines and (option := OPTION.fullmatch(lines[-1])):
        options.append(option)
        lines.pop()
    if len(options) < 2:
        return text, []
    if lines and HEADING.fullmatch(lines[-1]):
        lines.pop()
    return "\n".join(lines), options[::-1]


def without_options(question: str, task: Task) -> str:
    """Return the question without its list of choices, because each prompt variant lists them differently."""
    return _split(question)[0].strip() if _listed(task) else question


def _filled(row: Row, columns: str | tuple[str, ...]) -> list[str]:
    return row.texts(columns) if isinstance(columns, str) else [row.text(column) for column in columns]


def _as_text(answer: str, choices: list[str], labels: list[str]) -> int:
    return choices.index(answer)


def _as_label(answer: str, choices: list[str], labels: list[str]) -> int:
    """Return the index of the label; `B`, `b`, `(B)` and `B.` are the same label."""
    return [label.strip("(). ").casefold() for label in labels].index(answer.strip("(). ").casefold())


def _as_index(answer: str, choices: list[str], labels: list[str]) -> int:
    return list(map(str, range(len(choices)))).index(answer)


def _as_number(answer: str, choices: list[str], labels: list[str]) -> int:
    return list(map(str, range(1, len(choices) + 1))).index(answer)


READINGS: dict[str, Reading] = {
    "text": _as_text,
    "label": _as_label,
    "index": _as_index,
    "number": _as_number,
}


def _checked(read: Reading, answer: str, row: Row, choices: list[str], labels: list[str]) -> int:
    try:
        return read(answer, choices, labels)
    except ValueError:
        (how,) = (name for name, reading in READINGS.items() if reading is read)
        shown = ", ".join(labels if how == "label" else choices)
        raise SteadyPhiError(
            f"{row.where}: the answer {answer!r}, read as {how}, is not among the choices ({shown})"
        ) from None


def _detect(rows: Sequence[Row], task: Task) -> Reading:
    """Return the reading of the answers in `READINGS` that fits the most rows.

    Raises SteadyPhiError if two readings fit equally many rows and give different choices.
    """
    indices: dict[str, list[int | None]] = {name: [] for name in READINGS}
    for row in rows:
        choices, labels = offered(row, task)
        answer = final_answer(row, task)
        for name, read in READINGS.items():
            try:
                indices[name].append(read(answer, choices, labels))
            except ValueError:
                indices[name].append(None)
    fits = {name: sum(place is not None for place in places) for name, places in indices.items()}
    best = [name for name in READINGS if fits[name] == max(fits.values())]
    if any(indices[name] != indices[best[0]] for name in best):
        raise SteadyPhiError(
            f"{rows[0].source}: the answers can be read as {' and as '.join(best)}; say which in "
            f"prepare.task.answer_is{' (index: from 0, number: from 1)' if 'number' in best else ''}"
        )
    return READINGS[best[0]]


def final_answer(row: Row, task: Task) -> str:
    """Return the final answer of a row: what `task.answer_pattern` matches, or the whole answer."""
    assert task.answer
    text = without_end_string(row.text(task.answer))
    if task.answer_pattern is None:
        return text
    try:
        match = regex.search(task.answer_pattern, text, timeout=LONGEST_SEARCH)
    except TimeoutError:
        raise SteadyPhiError(
            f"{row.where}: prepare.task.answer_pattern {task.answer_pattern!r} takes more than "
            f"{LONGEST_SEARCH:g} s; write it without a repetition inside a repetition"
        ) from None
    if not match or not match[1]:
        raise SteadyPhiError(
            f"{row.where}: no answer matches prepare.task.answer_pattern {task.answer_pattern!r}"
        )
    return match[1].strip()


def draw_choices(row: Row, answer: str, others: list[str], count: int, rng: random.Random) -> list[str]:
    """Return `count` choices in random order: the answer, and wrong choices from other rows' answers.

    The wrong choices are about as long as the answer, because a sum of log-probabilities favours short
    texts: a model without knowledge would choose `5` over `49200` and `580`. For the same reason no choice
    is a prefix of another: `51` is never more likely than `5`.
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
        "lower prepare.task.n_choices, or name a column of choices in prepare.task.choices"
    )
