"""The audit of the training rows, before they are tokenized: contamination, duplicates, suspicious texts."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from steadyphi.data.contamination import Contamination
from steadyphi.data.duplicates import Duplicates
from steadyphi.data.row_checks import MEANINGS, RowChecks
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.rows import original
from steadyphi.data.sources import data_name
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.item import Item
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer

BATCH = 1024  # rows that are examined at once
LISTED = 1000  # rows of each kind that the file lists
FILE = "audit.json"


class Audit:
    """Examines training rows as they pass, and leaves out those that are contaminated.

    It keeps the signatures of `Duplicates`, the ids of these rows, and at most `LISTED` findings of each
    kind.
    """

    def __init__(self, settings: Prepare, items: Iterable[Item], tokenizer: TextTokenizer) -> None:
        # The generator of the textbook never asks a question of the evaluation, and makes all its questions
        # of the same few sentences, so a run of words in common says nothing.
        generated = settings.source == settings.task.source == "textbook"
        self._settings = settings
        self._contamination = Contamination(list(items), runs=not generated)
        self._checks = RowChecks(tokenizer.special_texts)
        self._duplicates = Duplicates()
        self._ids: list[str] = []  # of the rows that are compared with each other
        self._rows = 0
        self._listed: dict[str, list[dict[str, str]]] = {kind: [] for kind in ("contaminated", *MEANINGS)}
        self._counts = dict.fromkeys(self._listed, 0)

    def kept(self, dialogues: Iterable[Dialogue]) -> Iterator[Dialogue]:
        """Yield the rows that are not contaminated, and examine each."""
        remaining = iter(dialogues)
        while batch := list(itertools.islice(remaining, BATCH)):
            overlaps = self._contamination.overlaps(batch)
            for n, (question, shared) in overlaps.items():
                self._add("contaminated", {"row": batch[n].id, "question": question, "shared": shared})
            kept = [dialogue for n, dialogue in enumerate(batch) if n not in overlaps]
            for dialogue in kept:
                for kind, text in self._checks.suspicions(dialogue).items():
                    self._add(kind, {"row": dialogue.id, "text": text})
            # A row that the weight of its source repeats is no duplicate.
            once = [dialogue for dialogue in kept if dialogue.id == original(dialogue.id)]
            self._duplicates.add(["\n".join((d.system, *itertools.chain(*d.turns))) for d in once])
            self._ids += [dialogue.id for dialogue in once]
            self._rows += len(batch)
            yield from kept

    def check(self) -> None:
        """Raise SteadyPhiError if more than the share `prepare.contamination` of the rows is contaminated."""
        count, most = self._counts["contaminated"], self._settings.contamination
        if count > most * self._rows:
            rows = ", ".join(entry["row"] for entry in self._listed["contaminated"][:3])
            raise SteadyPhiError(
                f"{data_name(self._settings)}: {count:,} of {self._rows:,} training rows have text in common "
                f"with questions of the evaluation ({rows}, …), more than the share prepare.contamination of "
                f"{most}; set task or task_file to other questions, or raise prepare.contamination"
            )

    def findings(self) -> dict[str, Any]:
        """Return what was found: for each kind the number of rows, and the first `LISTED` of them."""
        exact, near = self._duplicates.exact(), self._duplicates.near()
        findings: dict[str, Any] = {
            kind: {"count": self._counts[kind], "rows": rows} for kind, rows in self._listed.items()
        }
        for kind, at in (("exact_duplicates", exact), ("near_duplicates", near)):
            rows = [{"row": self._ids[n]} for n in at[:LISTED]]
            findings[kind] = {"count": len(at), "rows": rows}
        return findings

    def _add(self, kind: str, row: dict[str, str]) -> None:
        self._counts[kind] += 1
        if len(self._listed[kind]) < LISTED:
            self._listed[kind].append(row)


def counts(findings: dict[str, Any]) -> dict[str, float]:
    """Return the number of rows of each kind, as metrics."""
    return {k if "duplicates" in k else f"{k}_rows": entry["count"] for k, entry in findings.items()}


def examined(counts: Mapping[str, float]) -> float:
    """Return the number of rows that were examined: those trained on and those left out."""
    return trained(counts) + counts["contaminated_rows"] + counts["skipped_examples"]


def trained(counts: Mapping[str, float]) -> float:
    """Return the number of rows that are trained on; a row that was split is several examples."""
    return counts["train_examples"] - counts.get("split_added", 0)


def alarms(counts: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each finding to look at before training, from the counts of `prepare`."""
    rows = examined(counts)
    if share := 1 - counts["end_token_coverage"]:
        yield (
            f"{share:.1%} of the answers are not followed by the end token, so the model does not learn to "
            "stop there; they are cut (prepare.too_long: truncate)"
        )
    if count := counts["contaminated_rows"]:
        yield (
            f"left out: {count:,.0f} of {rows:,.0f} training rows, because they have text in common with "
            "questions of the evaluation"
        )
    for kind, what in MEANINGS.items():
        if count := counts[f"{kind}_rows"]:
            yield f"in {count:,.0f} of {rows:,.0f} training rows: {what}"
