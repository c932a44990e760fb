"""Read the data file: its rows as dialogues, and which of them can be asked as evaluation questions."""

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steadyphi.data import row_formats
from steadyphi.data.row_files import read_rows
from steadyphi.data.row_formats import Dialogue, RowFormat
from steadyphi.data.rows import Questions, Row, each
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.schema import Prepare


@dataclass(frozen=True)
class DataFile:
    """The dialogues of a data file.

    questions: the rows with one question and one answer, each question handed out once.
    dialogues: every dialogue, by the id of its row.
    others: the dialogues that cannot be asked, because they have several turns or are plain text, grouped by
        their questions.
    skipped: the number of bad rows that were skipped.
    """

    format: RowFormat
    questions: Questions
    dialogues: dict[str, Dialogue]
    others: list[list[Dialogue]]
    skipped: int

    def remaining(self, seed: int) -> list[list[Dialogue]]:
        """Return the dialogues not handed out as questions, in random order, one list per question."""
        groups = [[self.dialogues[row.id] for row in rows] for rows in self.questions.remaining()]
        if self.others:
            groups += self.others
            random.Random(f"dialogues {seed}").shuffle(groups)
        return groups


def read(settings: Prepare, file: Path, question: str) -> DataFile:
    """Read the data file. `question` is the template of the text by which questions are compared.

    Raises SteadyPhiError as `read_rows` and `recognize` do, and for bad rows unless `settings.bad_rows` skips
    them.
    """
    assert settings.instruction and settings.response  # compose ensures it
    rows = read_rows(file)
    format_ = row_formats.recognize(rows, settings.format, settings.instruction, settings.response)
    usable = _usable(rows, format_, settings.bad_rows == "skip")
    askable, groups = [], dict[str, list[Dialogue]]()
    for row, dialogue in usable:
        if dialogue.asks_once:
            askable.append(format_.as_question(row, dialogue))
        else:
            groups.setdefault("\n".join(sorted(dialogue.keys)) or row.id, []).append(dialogue)
    return DataFile(
        format_,
        Questions(askable, question, settings.seed),
        {row.id: dialogue for row, dialogue in usable},
        list(groups.values()),
        len(rows) - len(usable),
    )


def read_questions(file: Path, question: str, answer: str) -> tuple[list[Row], int]:
    """Return the rows of a file of questions, and the number of rows that do not ask one question.

    The rows are recognized as those of a data file are. Templates of other columns are used as they are.
    """
    rows = read_rows(file)
    format_ = row_formats.recognize(rows, "auto", question, answer)
    if format_.by_template:
        return rows, 0
    dialogues = each(rows, format_.read)
    asked = [format_.as_question(row, d) for row, d in zip(rows, dialogues, strict=True) if d.asks_once]
    return asked, len(rows) - len(asked)


def _usable(rows: Sequence[Row], format_: RowFormat, skip: bool) -> list[tuple[Row, Dialogue]]:
    """Return the rows that are dialogues; bad rows raise one error, or are left out if `skip` is true."""
    if not skip:
        return list(zip(rows, each(rows, format_.read), strict=True))
    usable = []
    for row in rows:
        with contextlib.suppress(SteadyPhiError):
            usable.append((row, format_.read(row)))
    if not usable:
        raise SteadyPhiError(f"{rows[0].source}: no row can be used as {format_}")
    return usable
