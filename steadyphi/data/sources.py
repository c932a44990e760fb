"""Load instruction data and questions from the textbook generator, from files of rows or from the Hub."""

import itertools
import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from steadyphi.data import data_file, textbook
from steadyphi.data.choices import Asker, offered
from steadyphi.data.data_file import DataFile
from steadyphi.data.hub_rows import read_hub, usable
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.rows import Questions, Row, again, each, same
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.item import Item
from steadyphi.settings.schema import Mixed, Prepare, Task
from steadyphi.settings.values import DEFAULT_TEMPLATES, rows_suffix


@dataclass(frozen=True)
class Asked:
    """The evaluation items and the examples of few-shot prompts; no question is both."""

    items: list[Item]
    shots: list[Item]
    keys: set[str]  # the keys of all their questions, see `rows.same`
    unusable: int  # the number of rows of the Hub that cannot be used
    dialogues: int = 0  # the number of rows of a file that do not ask one question


class Chosen(Sequence[Dialogue]):
    """Some of the dialogues, in any order; a dialogue that is chosen again has another id."""

    def __init__(
        self, dialogues: Sequence[Dialogue], places: Sequence[int], rounds: Sequence[int] = ()
    ) -> None:
        """`rounds`: for each place how often it was chosen before; never by default."""
        self.dialogues, self.places, self.rounds = dialogues, places, rounds

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Dialogue: ...
    @overload
    def __getitem__(self, index: slice) -> "Chosen": ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Chosen(self.dialogues, self.places[index], self.rounds[index])
        dialogue = self.dialogues[self.places[index]]
        times = self.rounds[index] if self.rounds else 0
        return replace(dialogue, id=again(dialogue.id, times)) if times else dialogue


@dataclass(frozen=True)
class Material:
    """The input of `prepare`; no question is in more than one of the four lists.

    dialogues: the number of rows that no question was taken from, because they have several turns or none.
    recognized: for each source its name, and its file with the format of its rows; none for the textbook.
    """

    train: Sequence[Dialogue]
    valid: Sequence[Dialogue]
    items: list[Item]
    shots: list[Item]
    unusable: int
    dialogues: int = 0
    recognized: dict[str, str] = field(default_factory=dict)


def load(settings: Prepare, file: Path) -> Material:
    """Return training and validation dialogues, evaluation items and few-shot examples.

    `file` is the data file, or the folder of the data files. A task may read its questions from another file
    (`settings.task_file`) or from the Hub. Questions used in evaluation or as few-shot examples are left out
    of training. Raises SteadyPhiError that names the file, row or column that cannot be used.
    """
    data = None
    if settings.source != "textbook":
        question = DEFAULT_TEMPLATES[0] if settings.source == "mixture" else settings.instruction
        template = settings.task.question if _asks_data_file(settings) else question
        assert template  # compose ensures it
        data = data_file.read(settings, file, template)
    asked = _asked(settings, data)
    keys = asked.keys
    if data and _asks_data_file(settings):  # their questions without a system text too
        keys = keys.union(*(dialogue.keys for dialogue in data.asked()))
    dialogues: Sequence[Dialogue] = data.dialogues if data else _textbook(settings)
    if data:
        groups = data.keys.without(data.remaining(settings.seed), keys)
    else:
        groups = [[place] for place, dialogue in enumerate(dialogues) if not dialogue.keys & keys]
    train = array("L", itertools.chain(*groups[settings.valid :]))
    if not train:
        raise SteadyPhiError(
            f"{data_name(settings)}: {len(groups)} questions beside the {len(asked.items)} for evaluation "
            f"and the {len(asked.shots)} for few-shot prompts are too few for prepare.valid of "
            f"{settings.valid} and training; lower prepare.valid, prepare.items or prepare.shots"
        )
    return Material(
        _weighted(settings, dialogues, train)[: settings.examples],
        Chosen(dialogues, array("L", itertools.chain(*groups[: settings.valid]))),
        asked.items,
        asked.shots,
        asked.unusable + (data.skipped if data else 0),
        asked.dialogues,
        {s.name: f"{s.rows[0].source}: read as {s.format}" for s in data.dialogues.sources} if data else {},
    )


def _weighted(settings: Prepare, dialogues: Sequence[Dialogue], train: Sequence[int]) -> Chosen:
    """Return the training dialogues, those of each source limited and repeated as its settings say.

    `train` is in random order, so that the first of a source are a random sample of it.
    """
    if not settings.sources:
        return Chosen(dialogues, train)
    by_source: dict[str, list[int]] = {source.name: [] for source in settings.sources}
    for place in train:
        by_source[dialogues[place].source].append(place)
    chosen = [
        (place, number // len(places))
        for source in settings.sources
        if (places := by_source[source.name][: source.limit])
        for number, place in enumerate(itertools.islice(itertools.cycle(places), _count(source, places)))
    ]
    random.Random(f"mixture {settings.seed}").shuffle(chosen)
    return Chosen(dialogues, array("L", (p for p, _ in chosen)), array("L", (times for _, times in chosen)))


def _count(source: Mixed, places: Sequence[int]) -> int:
    return max(1, round(source.weight * len(places)))


def data_name(settings: Prepare) -> str:
    """Return the name of the training data for people: a file, a folder, or data sets on the Hub."""
    if settings.sources and not any(source.file for source in settings.sources):
        return ", ".join(source.hub.dataset for source in settings.sources if source.hub)
    return settings.hub.dataset if settings.hub and settings.source == "hub" else settings.data_file


def _textbook(settings: Prepare) -> list[Dialogue]:
    assert settings.examples  # compose ensures it
    count = settings.valid + settings.examples
    generated = textbook.questions("finetune", settings.seed, count, settings.rehearsal)
    return [Dialogue(f"finetune-{n}", ((q.text, q.answer),)) for n, q in enumerate(generated)]


def _asks_data_file(settings: Prepare) -> bool:
    return settings.task.source == "jsonl" and _task_file(settings) is None


def _task_file(settings: Prepare) -> Path | None:
    """Return the file of the questions, or None if it is the data file.

    Unless the user names a file of rows, `task_file` is the textbook generator or the data file.
    """
    file = Path(settings.task_file)
    return file if settings.task_file != settings.data_file and rows_suffix(file.name) else None


def _asked(settings: Prepare, data: DataFile | None) -> Asked:
    """Return the items and few-shot examples; those of the data file are not handed out again."""
    if settings.task.source == "textbook":
        return _asked_of_textbook(settings)
    if settings.task.source == "hub":
        return _asked_of_hub(settings)
    task, file = settings.task, _task_file(settings)
    assert task.question and task.answer  # compose ensures it
    if file:
        rows, dialogues = data_file.read_questions(file, task.question, task.answer)
        questions = Questions(rows, task.question, settings.seed, _choices_of(task))
    else:
        assert data is not None  # compose ensures it
        questions, dialogues = data.questions, sum(map(len, data.others))
    if not questions:
        raise SteadyPhiError(
            f"{file or data_name(settings)}: no row has one question and one answer to evaluate with; "
            "set task, such as task=textbook, or task_file to a file of questions"
        )
    asker = Asker(questions.rows, task, settings.seed)
    items = each(questions.take(_most(questions, settings)), asker.item)
    shots = each(questions.take(settings.shots), asker.item)
    return replace(_asking(items, shots, [questions]), dialogues=dialogues)


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
