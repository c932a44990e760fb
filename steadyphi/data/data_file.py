"""Read the training data: the rows of files and of the Hub as dialogues, and which of them can be asked."""

import random
from array import array
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from steadyphi.data import row_formats
from steadyphi.data.hub_rows import read_split
from steadyphi.data.row_files import read_rows, stream_rows
from steadyphi.data.row_formats import Dialogue, RowFormat, SettingNames
from steadyphi.data.row_store import Rows
from steadyphi.data.rows import Questions, Refused, Row, digest, each, grouped, question_digest
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.groups import Mixed
from steadyphi.settings.schema import Prepare

TASK_SETTINGS = SettingNames("", "prepare.task.question", "prepare.task.answer")


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


class Keys:
    """The keys of every dialogue (see `rows.same`), 8 bytes each, to find those that ask a question."""

    def __init__(self) -> None:
        self._keys, self._ends = array("Q"), array("Q")

    def add(self, texts: Collection[str]) -> None:
        """Add the keys of the next dialogue."""
        self._keys.extend(map(self._short, texts))
        self._ends.append(len(self._keys))

    def without(self, groups: list[list[int]], texts: Collection[str]) -> list[list[int]]:
        """Return the groups of dialogues whose first has none of the keys."""
        left_out = set(map(self._short, texts))
        return [group for group in groups if left_out.isdisjoint(self._of(group[0]))]

    def _of(self, place: int) -> Sequence[int]:
        return self._keys[self._ends[place - 1] if place else 0 : self._ends[place]]

    @staticmethod
    def _short(text: str) -> int:
        return int.from_bytes(digest(text)[:8])


@dataclass(frozen=True)
class DataFile:
    """The dialogues of the training data.

    questions: the rows with one question and one answer, each question handed out once.
    askable: the place of each such row among the dialogues.
    others: the places of the dialogues that cannot be asked, because they have several turns or are plain
        text, grouped by their questions.
    keys: of all dialogues.
    skipped: the number of bad rows that were skipped.
    """

    dialogues: Dialogues
    questions: Questions
    askable: Sequence[int]
    others: list[list[int]]
    keys: Keys
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
    first_pass = _FirstPass(question)
    skip = settings.bad_rows == "skip"
    if settings.source == "mixture":
        sources = [first_pass.usable(*_mixed(source, file), skip) for source in settings.sources]
    else:
        sources = [first_pass.usable("", *_read(settings, file), skip)]
    dialogues = Dialogues(sources)
    return DataFile(
        dialogues,
        Questions(
            _Askable(dialogues, first_pass.askable), question, settings.seed, digests=first_pass.digests()
        ),
        first_pass.askable,
        [[first_pass.others[n] for n in group] for group in grouped(first_pass.other_keys)],
        first_pass.keys,
        sum(len(source.rows) - len(source.usable) for source in sources),
    )


class _FirstPass:
    """What one pass over the rows of all sources finds. question: the template of their questions."""

    def __init__(self, question: str) -> None:
        self._question = question
        self._digests: list[bytes] = []
        self._unasked = Refused()
        self.askable, self.others = array("L"), array("L")
        self.other_keys: list[bytes] = []
        self.keys = Keys()

    def usable(self, name: str, format_: RowFormat, rows: Rows, skip: bool) -> SourceRows:
        """Return the rows that are dialogues.

        Bad rows raise one error, or are left out if `skip` is true.
        """
        usable, refused = array("L"), Refused()
        for place, row in enumerate(rows):
            try:
                dialogue = format_.read(row)
            except SteadyPhiError as error:
                refused.add(row, error)
            else:
                usable.append(place)
                self._add(dialogue)
                if dialogue.asks_once:
                    self._ask(format_.as_question(row, dialogue))
        if refused.count and not skip:
            raise refused.error()
        if not usable:
            raise SteadyPhiError(f"{rows[0].source}: no row can be used as {format_}")
        return SourceRows(name, format_, rows, usable)

    def digests(self) -> list[bytes]:
        """Return what identifies the question of each row that asks one, see `rows.question_digest`.

        Raises one SteadyPhiError for all rows in which a column of the template is absent or empty.
        """
        if self._unasked.count:
            raise self._unasked.error()
        return self._digests

    def _ask(self, row: Row) -> None:
        try:
            self._digests.append(question_digest(row, self._question))
        except SteadyPhiError as error:
            self._unasked.add(row, error)

    def _add(self, dialogue: Dialogue) -> None:
        place, keys = len(self.askable) + len(self.others), dialogue.keys
        self.keys.add(keys)
        if dialogue.asks_once:
            self.askable.append(place)
        else:
            self.others.append(place)
            self.other_keys.append(digest("\n".join(sorted(keys)) or dialogue.id))


def _read(settings: Prepare, file: Path) -> tuple[RowFormat, Rows]:
    """Read the only source."""
    assert settings.instruction and settings.response  # compose ensures it
    if settings.source == "hub":
        assert settings.hub
        rows = Rows(read_split(settings.hub, "prepare.hub"))
    else:
        rows = Rows(stream_rows(file, settings.files))
    return row_formats.recognize(rows, settings.format, settings.instruction, settings.response), rows


def _mixed(source: Mixed, folder: Path) -> tuple[str, RowFormat, Rows]:
    """Read one of several sources. The questions of all have the columns `instruction` and `response`."""
    if source.hub:
        rows = Rows(read_split(source.hub, f"hub of the source {source.name}", source.name))
    else:
        assert source.file
        glob = "*" in source.file
        path, pattern = (folder, source.file) if glob else (folder / source.file, None)
        rows = Rows(stream_rows(path, pattern, source.name))
    keys = SettingNames(*(f"{source.name}'s {key}" for key in SettingNames._fields))
    format_ = row_formats.recognize(rows, source.format, source.instruction, source.response, keys)
    return source.name, replace(format_, as_columns=False), rows


def read_questions(file: Path, question: str, answer: str) -> tuple[list[Row], int]:
    """Return the rows of a file of questions, and the number of rows that do not ask one question.

    The rows are recognized as those of a data file are. Templates of other columns are used as they are.
    """
    rows = read_rows(file)
    format_ = row_formats.recognize(Rows(rows), "auto", question, answer, TASK_SETTINGS)
    if format_.as_columns:
        return rows, 0
    dialogues = each(rows, format_.read)
    asked = [format_.as_question(row, d) for row, d in zip(rows, dialogues, strict=True) if d.asks_once]
    return asked, len(rows) - len(asked)
