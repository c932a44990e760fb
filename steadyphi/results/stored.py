"""Stored evaluations: read from their folders, compared, and combined for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from steadyphi.data.tables import read_items, read_table
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object
from steadyphi.prompts.item import Item
from steadyphi.results import families
from steadyphi.results.cells import SCORES, Cells, asked_in_all, cells
from steadyphi.results.decomposition import mixed
from steadyphi.results.experiment import (
    Answers,
    AnswerTable,
    Experiment,
    FamilyChange,
    QuestionAnswers,
    RunComparison,
)
from steadyphi.results.result import SCHEMA, Result
from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.catalogue import of_scope
from steadyphi.stats.comparison import MeasureChange, adjusted, compare, measure_changes

T = TypeVar("T")
ANSWERED = ("format", "unseen")  # the families of formats whose answers to single questions are kept


def to_json(value: Result | RunComparison | Experiment) -> dict[str, Any]:
    """Return a result as plain JSON, with the version of its schema."""
    return {"schema": SCHEMA, **asdict(value)}


@dataclass(frozen=True)
class Evaluation:
    """The files of an evaluation: its result, the rows of scores, the items and the rows of long prompts."""

    result: Result
    rows: list[dict[str, Any]]
    items: list[Item]
    long: list[dict[str, Any]]

    @property
    def formats(self) -> list[str]:
        """The names of the formats, the default first."""
        return [row.name for row in self.result.variants if row.family == "format"]


def read(folder: Path) -> Evaluation:
    """Read an evaluation. Raises SteadyPhiError if the folder has none, or one of another version."""
    result = _read_result(folder / "result.json")
    rows = read_table(folder / "scores.parquet")
    if rows and set(SCORES.names) - set(rows[0]):
        raise SteadyPhiError(f"{folder / 'scores.parquet'}: was written by another version; run dvc repro")
    return Evaluation(result, rows, read_items(folder / "items.parquet"), read_table(folder / "long.parquet"))


def read_experiment(path: Path) -> Experiment:
    """Read report.json, the content of a report. Raises SteadyPhiError if it is of another version."""
    return _parsed(read_object(path, "a report", finite=False), Experiment, path)


def _read_result(path: Path) -> Result:
    try:
        values = read_object(path, "a result", "run dvc repro", finite=False)
    except OSError as error:
        raise SteadyPhiError(
            f"{path}: {error.strerror}; give a folder that dvc repro writes, such as artifacts/scores/base"
        ) from None
    return _parsed(values, Result, path, "; run dvc repro")


def _parsed(values: dict[str, Any], kind: type[T], path: Path, advice: str = "") -> T:
    """Return the values of a file that `to_json` made, as an object of its type."""
    schema = values.pop("schema", 1)
    if schema != SCHEMA:
        raise SteadyPhiError(f"{path}: has schema {schema}, this version reads {SCHEMA}{advice}")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SteadyPhiError(f"{path}: {where}: {first['msg']}{advice}") from None


class _Pair:
    """Two evaluations and their common questions and variants.

    items: the ids of the common questions. same: the variants whose prompts are the same in both.
    """

    def __init__(self, before: Evaluation, after: Evaluation) -> None:
        self.before, self.after = before, after
        items = [{item.id: item for item in run.items} for run in (before, after)]
        self.items = [i for i, item in items[0].items() if items[1].get(i) == item]
        known = set(self.items)
        prompts = [
            {(row["item"], row["variant"]): row["prompt"] for row in run.rows if row["item"] in known}
            for run in (before, after)
        ]
        shared = [key for key in prompts[0] if key in prompts[1]]
        different = {key[1] for key in shared if prompts[0][key] != prompts[1][key]}
        self.same = {variant for _, variant in shared} - different

    def names(self, family: str) -> list[str]:
        """Return the common variants of a family, in the order of the first evaluation."""
        rows = self.before.result.variants
        return [row.name for row in rows if row.family == family and row.name in self.same]

    def cells(self, names: Sequence[str]) -> tuple[Cells, Cells] | None:
        """Return the cells of both over the common items scored in all variants, or None if none are."""
        runs = (self.before, self.after)
        scored = [set(asked_in_all(run.rows, names)) for run in runs]
        items = [i for i in self.items if all(i in ids for ids in scored)]
        if not names or not items:
            return None
        before, after = (cells(run.rows, names, items, run.result.scorer) for run in runs)
        return before, after


def side_by_side(before: Evaluation, after: Evaluation) -> RunComparison:
    """Compare two evaluations on the prompts that are the same in both.

    Raises SteadyPhiError if they have nothing in common, or if their scorers differ.
    """
    if before.result.scorer != after.result.scorer:
        raise SteadyPhiError(
            f"one evaluation ranks choices by scorer {before.result.scorer}, the other by "
            f"{after.result.scorer}; give both the same evaluate.scorer"
        )
    pair = _Pair(before, after)
    names = pair.names("format")
    both = pair.cells(names)
    if not both:
        raise SteadyPhiError(
            "the two evaluations have no format or no question in common (with the same choices); "
            "compare evaluations of the same task, file and seed"
        )
    settings = before.result
    resampling = Resampling(settings.confidence, settings.draws, settings.seed)
    measures = of_scope("formats", kinds=("bootstrap", "item mean"))
    comparison = compare(both[0].arrays, both[1].arrays, names, measures, resampling)
    changes = _unseen_changes(pair, resampling) + comparison.measures
    groups = _family_changes(pair, resampling)
    rows = iter(adjusted(changes + [row for group in groups for row in group.measures]))
    return RunComparison(
        [next(rows) for _ in changes],
        comparison.variants,
        comparison.alarms,
        comparison.gate,
        len(both[0].items),
        [replace(group, measures=[next(rows) for _ in group.measures]) for group in groups],
    )


def _unseen_changes(pair: _Pair, resampling: Resampling) -> list[MeasureChange]:
    """Return the changes of the measures over unseen formats; none if there are fewer than two of these."""
    names = pair.names("unseen")
    both = pair.cells(names) if len(names) > 1 else None
    if not both:
        return []
    was, now = (run.arrays for run in both)
    measures = [m for m in of_scope("unseen formats") if set(m.arrays) <= was.keys()]
    return measure_changes(was, now, measures, resampling)


def _family_changes(pair: _Pair, resampling: Resampling) -> list[FamilyChange]:
    result = pair.before.result
    changes = []
    for family in dict.fromkeys(row.family for row in result.variants if row.family != "format"):
        names = pair.names(family)
        if names and result.default in pair.same and (both := pair.cells([result.default, *names])):
            changes.append(families.family(family, *both, resampling))
    for row in result.options:
        names = [name for name in row.variants if name in pair.same]
        if len(names) > 1 and (both := pair.cells(names)):
            changes.append(families.orders(row.style, *both, resampling))
    return changes + families.long(pair.before.long, pair.after.long, resampling)


def experiment(settings: Mapping[str, Any], runs: Sequence[Evaluation]) -> Experiment:
    """Return the content of a report on one or two evaluations of the same items."""
    comparison = side_by_side(runs[0], runs[1]) if len(runs) == 2 else None
    model = mixed(*formats_of(runs)) if len(runs) == 2 else None
    return Experiment(dict(settings), [run.result for run in runs], comparison, _answer_table(runs), model)


def formats_of(runs: Sequence[Evaluation], families: Sequence[str] = ("format",)) -> list[Cells]:
    """Return the answers of each run in the formats and to the questions that all runs have."""
    known_to = [{row.name for row in run.result.variants if row.family in families} for run in runs]
    rows = [row.name for row in runs[0].result.variants if row.family in families]
    names = [name for name in rows if all(name in others for others in known_to)]
    known = set.intersection(*(set(asked_in_all(run.rows, names)) for run in runs))
    asked = [set(run.items) for run in runs]
    items = [item.id for item in runs[0].items if item.id in known and all(item in run for run in asked)]
    return [cells(run.rows, names, items, run.result.scorer) for run in runs]


def _answer_table(runs: Sequence[Evaluation]) -> AnswerTable:
    """Return the items that all runs scored, with their prompts and answers in all formats."""
    tables = formats_of(runs, ANSWERED)
    names, known = tables[0].variants, set(tables[0].items)
    items = [item for item in runs[0].items if item.id in known]
    prompts = {(row["item"], row["variant"]): row["prompt"] for row in runs[0].rows}
    return AnswerTable(
        names,
        [
            QuestionAnswers(
                id=item.id,
                skill=item.skill,
                question=item.question,
                choices=list(item.choices),
                answer=item.answer,
                prompts=[prompts[item.id, name] for name in names],
                runs=[_answers(table, n) for table in tables],
            )
            for n, item in enumerate(items)
        ],
    )


def _answers(table: Cells, item: int) -> Answers:
    shares = table.probabilities[item, :, : table.choices[item]]
    of_right = shares[:, table.answer[item]]
    return Answers(
        table.chosen[item].tolist(), of_right.round(4).tolist(), [row.round(4).tolist() for row in shares]
    )
