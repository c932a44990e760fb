"""Read the training data: the rows of files and of the Hub as dialogues, and which of them can be asked."""

import random
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from steadyphi.data import row_formats
from steadyphi.data.hub_rows import read_split
from steadyphi.data.row_files import read_rows, stream_rows
from steadyphi.data.row_formats import Dialogue, RowFormat
from steadyphi.data.row_store import Rows
from steadyphi.data.rows import Questions, Refused, Row, digest, each, grouped
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.schema import Mixed, Prepare


@dataclass(frozen=True)
class SourceRows:
    """The rows of one source and their format. name: of the source, if there are several; else empty."""

    name: str
    format: RowFormat
    rows: Rows
    usable: Sequence[int]  # the places of the rows that are not bad

    def dialogue(self, place: int) -> Dialogue:
        """Return the dialogue of the row at this place among the usable ones."""
        dialogue = self.format.read(self.rows[self.usable[place]])
        return replace(dialogue, source=self.name) if self.name else dialogue

    def question(self, place: int) -> Row:
        """Return the row at this place with its question and answer in the columns of the task."""
        row = self.rows[self.usable[place]]
        return self.format.as_question(row, self.format.read(row))


class Dialogues(Sequence[Dialogue]):
    """The dialogues of all sources, one after the other; each is read from the disk when it is asked for."""

    def __init__(self, sources: Sequence[SourceRows]) -> None:
        self.sources = sources
        self._ends = [sum(len(s.usable) for s in sources[: n + 1]) for n in range(len(sources))]

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Dialogue: ...
    @overload
    def __getitem__(self, index: slice) -> list[Dialogue]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        source, place = self._find(range(len(self))[index])
        return source.dialogue(place)

    def question(self, index: int) -> Row:
        """Return the row of a dialogue with its question and answer in the columns of the task."""
        source, place = self._find(index)
        return source.question(place)

    def _find(self, index: int) -> tuple[SourceRows, int]:
        number = bisect_right(self._ends, index)
        return self.sources[number], index - (self._ends[number - 1] if number else 0)


class _Askable(Sequence[Row]):
    """The rows with one question and one answer, each read from the disk when it is asked for."""

    def __init__(self, dialogues: Dialogues, places: Sequence[int]) -> None:
        self.dialogues, self.places = dialogues, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        return self.dialogues.question(self.places[index])


@dataclass(frozen=True)
class DataFile:
    """The dialogues of the training data.

    questions: the rows with one question and one answer, each question handed out once.
    askable: the place of each such row among the dialogues.
    others: the places of the dialogues that cannot be asked, because they have several turns or are plain
        text, grouped by their questions.
    skipped: the number of bad rows that were skipped.
    """

    dialogues: Dialogues
    questions: Questions
    askable: Sequence[int]
    others: list[list[int]]
    skipped: int

    def remaining(self, seed: int) -> list[list[int]]:
        """Return the dialogues not handed out as questions, in random order, one list per question."""
        groups = [[self.askable[row] for row in rows] for rows in self.questions.remaining()]
        if self.others:
            groups += self.others
            random.Random(f"dialogues {seed}").shuffle(groups)
        return groups

    def asked(self) -> list[Dialogue]:
        """Return the dialogues that were handed out as questions."""
        return [self.dialogues[self.askable[row]] for row in self.questions.taken_rows]


def read(settings: Prepare, file: Path, question: str) -> DataFile:
    """Read the training data. `question` is the template of the text by which questions are compared.

    Raises SteadyPhiError as `stream_rows` and `recognize` do, and for bad rows unless `settings.bad_rows`
    skips them.
    """
    if settings.source == "mixture":
        sources = [_mixed(source, settings, file) for source in settings.sources]
    else:
        sources = [_read(settings, file)]
    dialogues = Dialogues(sources)
    askable, others, keys = array("L"), array("L"), list[bytes]()
    for place, dialogue in enumerate(dialogues):
        if dialogue.asks_once:
            askable.append(place)
        else:
            others.append(place)
            keys.append(digest("\n".join(sorted(dialogue.keys)) or dialogue.id))
    questions = Questions(_Askable(dialogues, askable), question, settings.seed)
    groups = [[others[n] for n in group] for group in grouped(keys)]
    skipped = sum(len(source.rows) - len(source.usable) for source in sources)
    return DataFile(dialogues, questions, askable, groups, skipped)


def _read(settings: Prepare, file: Path) -> SourceRows:
    """Read the only source."""
    assert settings.instruction and settings.response  # compose ensures it
    if settings.source == "hub":
        assert settings.hub
        rows = Rows(read_split(settings.hub, "prepare.hub"))
    else:
        rows = Rows(stream_rows(file, settings.files))
    format_ = row_formats.recognize(rows, settings.format, settings.instruction, settings.response)
    return SourceRows("", format_, rows, _usable(rows, format_, settings.bad_rows == "skip"))


def _mixed(source: Mixed, settings: Prepare, folder: Path) -> SourceRows:
    """Read one of several sources. The questions of all have the columns `instruction` and `response`."""
    if source.hub:
        rows = Rows(read_split(source.hub, f"hub of the source {source.name}", source.name))
    else:
        assert source.file
        glob = "*" in source.file
        path, pattern = (folder, source.file) if glob else (folder / source.file, None)
        rows = Rows(stream_rows(path, pattern, source.name))
    format_ = row_formats.recognize(rows, source.format, source.instruction, source.response)
    usable = _usable(rows, format_, settings.bad_rows == "skip")
    return SourceRows(source.name, replace(format_, as_columns=False), rows, usable)


def read_questions(file: Path, question: str, answer: str) -> tuple[list[Row], int]:
    """Return the rows of a file of questions, and the number of rows that do not ask one question.

    The rows are recognized as those of a data file are. Templates of other columns are used as they are.
    """
    rows = read_rows(file)
    format_ = row_formats.recognize(Rows(rows), "auto", question, answer)
    if format_.as_columns:
        return rows, 0
    dialogues = each(rows, format_.read)
    asked = [format_.as_question(row, d) for row, d in zip(rows, dialogues, strict=True) if d.asks_once]
    return asked, len(rows) - len(asked)


def _usable(rows: Rows, format_: RowFormat, skip: bool) -> Sequence[int]:
    """Return the places of the rows that are dialogues.

    Bad rows raise one error, or are left out if `skip` is true.
    """
    usable, refused = array("L"), Refused()
    for place, row in enumerate(rows):
        try:
            format_.read(row)
            usable.append(place)
        except SteadyPhiError as error:
            refused.add(row, error)
    if refused.count and not skip:
        raise refused.error()
    if not usable:
        raise SteadyPhiError(f"{rows[0].source}: no row can be used as {format_}")
    return usable
