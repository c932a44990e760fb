"""Checks of settings that take more than one value, or the list of formats, to see."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from steadyphi.prompts.formats import FORMATS
from steadyphi.settings.schema import Settings, Task
from steadyphi.settings.values import ROWS, rows_suffix

GENERATOR = "steadyphi/data/textbook.py"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the known name nearest to `name` as a question, or all of them where none is near."""
    names = sorted(known)
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}"


def mistakes(settings: Settings, root: Path) -> Iterator[tuple[str, str]]:
    """Yield a dotted key and a problem for each setting that does not fit the others.

    `root` is the folder that file names in settings are relative to.
    """
    yield from _source(settings, root)
    yield from _data(settings)
    yield from _task(settings)
    yield from _context(settings)
    yield from _formats(settings)
    yield from _suite(settings)


def _source(s: Settings, root: Path) -> Iterator[tuple[str, str]]:
    source = s.fetch.source
    if (root / source).is_dir():
        if not (root / source).resolve().is_relative_to((root / "assets").resolve()):
            yield (
                "fetch.source",
                f"{source} is not below assets/, the folder whose changes DVC sees; copy it there",
            )
        return
    if not HUB_ID.fullmatch(source):
        yield "fetch.source", f"{source!r} is neither a folder nor a Hub id such as microsoft/phi-2"
    elif s.fetch.revision is None:
        problem = f"null, but {source} is no folder and so read from the Hub; write the commit, 40 hex digits"
        yield "fetch.revision", f"{problem} (in params.yaml: fetch.revision)"


def _data(s: Settings) -> Iterator[tuple[str, str]]:
    prepare, name, file = s.prepare, s.data.name, Path(s.prepare.data_file)
    has_rows = bool(rows_suffix(file.name))
    if prepare.source == "jsonl" and not has_rows:
        yield "data_file", f"data {name} is read from a {' or '.join(ROWS)} file, not from {file}"
    if prepare.source == "textbook" and file != Path(GENERATOR):
        yield "data_file", f"data {name} is made by {GENERATOR}, not {file}; set data too"
    if prepare.source == "textbook" and prepare.examples is None:
        yield "prepare.examples", "the textbook has no end; write how many examples to take from it"
    if prepare.source == "jsonl":
        columns = {"instruction": prepare.instruction, "response": prepare.response}
        yield from _columns("prepare", columns)


def _task(s: Settings) -> Iterator[tuple[str, str]]:
    prepare, task, name = s.prepare, s.prepare.task, s.task.name
    named = prepare.task_file not in (GENERATOR, prepare.data_file)  # a file of the questions' own
    file = prepare.task_file if named else prepare.data_file
    if task.source == "jsonl" and not rows_suffix(file):
        which = "task_file" if named else "data_file"
        yield "prepare.task.source", f"jsonl needs a {' or '.join(ROWS)} file, and {which} is {file}"
    if task.source != "jsonl" and named:
        yield "task_file", f"task {name} is not read from a file; leave it out, or set task too"
    if task.source == "hub":
        yield from _hub(task)
    if task.source != "textbook":
        yield from _columns("prepare.task", {"question": task.question, "answer": task.answer})
    if task.choices is None and (task.answer_is in ("label", "index") or task.labels):
        yield "prepare.task.choices", "null, but the answer points at one of them; say where they stand"


def _hub(task: Task) -> Iterator[tuple[str, str]]:
    if task.dataset is None or not HUB_ID.fullmatch(task.dataset):
        yield "prepare.task.dataset", f"{task.dataset!r} is no Hub id such as allenai/ai2_arc"
    if task.split is None:
        yield "prepare.task.split", "missing; name a split, such as validation"
    if task.revision is None:
        problem = f"null, but {task.dataset} is read from the Hub; write the commit, 40 hex digits"
        yield "prepare.task.revision", problem
    if task.choices is not None and task.answer_is == "auto":
        yield "prepare.task.answer_is", "auto is for files; write text, label or index"


def _columns(section: str, templates: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    for name, template in templates.items():
        if template is None:
            yield f"{section}.{name}", "missing; name a column of the file in braces, such as '{question}'"


def _context(s: Settings) -> Iterator[tuple[str, str]]:
    longest, readable = s.prepare.context, s.model.context
    if longest > readable:
        yield "prepare.context", f"{longest} is more than {s.model.name} can read, {readable}"


def _formats(s: Settings) -> Iterator[tuple[str, str]]:
    lists = {
        "data.styles": s.data.styles,
        "suite.formats": s.suite.formats,
        "prepare.styles": s.prepare.styles,
        "prepare.formats": s.prepare.formats,
    }
    for key, names in lists.items():
        for name in names:
            if name not in FORMATS:
                yield key, f"unknown format {name!r}; {did_you_mean(name, FORMATS)}"


def _suite(s: Settings) -> Iterator[tuple[str, str]]:
    search = s.evaluate.search
    if search and search.cells < search.formats:
        problem = f"{search.cells} are less than a cell for each of {search.formats} formats"
        yield "evaluate.search.cells", problem
