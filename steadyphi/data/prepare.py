"""Prepare training and evaluation: load the data, tokenize it, and count what was written and left out."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from steadyphi.data import sources, tables
from steadyphi.data.audit import FILE, Audit, counts
from steadyphi.data.prepared import measures
from steadyphi.data.rendering import development
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.sources import Material
from steadyphi.data.taught import Answer, taught
from steadyphi.data.tokenizing import write_examples
from steadyphi.data.written import Written
from steadyphi.errors import SteadyPhiError, printable
from steadyphi.files import write_json
from steadyphi.prompts import own_formats
from steadyphi.prompts.fitting import fitting
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.item import Item
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer


def prepare(
    settings: Prepare, file: Path, tokenizer: TextTokenizer, into: Path, answer: Answer | None = None
) -> dict[str, float]:
    """Write train, valid, items and shots as .parquet files into the folder `into`; return the counts.

    answer: the teacher's, if `settings.answers` names formats.
    Raises SteadyPhiError if the data cannot be used or nothing fits the context.
    """
    own_formats.define(settings.prompts)
    loaded = sources.load(settings, file)
    material = _answered(loaded, settings.answers, answer) if answer and settings.answers else loaded
    audit = Audit(settings, material.items, tokenizer)
    with (
        tables.examples_file(into / "train.parquet") as write_train,
        tables.examples_file(into / "valid.parquet") as write_valid,
    ):
        kept, total = audit.kept(material.train), len(material.train)
        train = write_examples(write_train, kept, total, settings, tokenizer, settings.renderings)
        audit.check()
        _check_sources(settings, material.train, train)
        rows, formats = material.valid, development(settings, material.valid)
        count = max(1, len(formats))
        valid = write_examples(write_valid, rows, len(rows), settings, tokenizer, count, formats)
        items = fitting_items(material.items, settings, tokenizer)
        shots = fitting_items(material.shots, settings, tokenizer)
        _check_fitting(settings, train, valid, items)
    for name, recognized in material.recognized.items():
        if name in train.first:
            print(f"{printable(recognized)}; {train.first[name][1]}", file=sys.stderr)
    tables.write_items(into / "items.parquet", items)
    tables.write_items(into / "shots.parquet", shots)
    findings = audit.findings()
    write_json(into / FILE, findings)
    return {
        **_example_counts(train, valid),
        "items": len(items),
        "skipped_items": len(material.items) - len(items),
        "shots": len(shots),
        "unusable_rows": material.unusable,
        "dialogues": material.dialogues,
        "stripped_responses": train.stripped + valid.stripped,
        **counts(findings),
        **measures(into / "train.parquet", tokenizer.eos_id, train.continued),
        **({"unanswered_rows": _rows(loaded) - _rows(material)} if answer else {}),
        **_long_counts(settings, train, valid),
        **_source_counts(settings, train),
    }


def _answered(material: Material, styles: Sequence[str], answer: Answer) -> Material:
    """Return the material with the teacher's answers in the formats `styles`."""
    train, valid = (taught(dialogues, styles, answer) for dialogues in (material.train, material.valid))
    return replace(material, train=train, valid=valid)


def _rows(material: Material) -> int:
    return len(material.train) + len(material.valid)


def _check_sources(settings: Prepare, rows: Sequence[Dialogue], train: Written) -> None:
    """Raise SteadyPhiError if one of the sources of a mixture is not trained on at all."""
    for name in (source.name for source in settings.sources if not train.sources[source.name]):
        left = sum(row.source == name for row in rows)
        reason = (
            f"its {left:,} rows have text in common with questions of the evaluation, or are longer than "
            f"prepare.context of {settings.context} tokens"
            if left
            else "its rows are all used for evaluation and validation, or left out by prepare.examples"
        )
        raise SteadyPhiError(
            f"{sources.data_name(settings)}: the source {name} is not trained on: {reason}; "
            "add rows to it, or remove it from prepare.sources"
        )


def _check_fitting(settings: Prepare, train: Written, valid: Written, items: Sequence[Item]) -> None:
    """Raise SteadyPhiError if no example, or no evaluation item, fits the context."""
    data, questions = sources.data_name(settings), settings.task.dataset or settings.task_file
    for name, what, count in (
        (data, "training example", train.examples),
        (data, "validation example", valid.examples),
        (questions, "evaluation item", len(items)),
    ):
        if not count:
            raise SteadyPhiError(f"{name}: no {what} fits prepare.context of {settings.context} tokens")


def _example_counts(train: Written, valid: Written) -> dict[str, float]:
    return {
        "train_examples": train.examples // train.renderings,
        "renderings": train.renderings,
        "train_formats": len(train.styles),
        "train_tokens": train.tokens,
        "train_supervised_tokens": train.supervised,
        "valid_examples": valid.examples // valid.renderings,
        "valid_formats": len(valid.styles),
        "longest_example": train.longest,
        "skipped_examples": train.dropped + valid.dropped,
        "truncated_examples": 0,
    }


def _long_counts(settings: Prepare, train: Written, valid: Written) -> dict[str, float]:
    """Return how many dialogues that are too long were shortened or split."""
    changed = train.long - train.dropped + valid.long - valid.dropped
    if settings.too_long == "split":
        return {"split_examples": changed, "split_added": train.added}
    return {"truncated_examples": changed}


def _source_counts(settings: Prepare, train: Written) -> dict[str, float]:
    """Return the examples and tokens of each source of a mixture."""
    counted: dict[str, float] = {}
    for source in settings.sources:
        counted[f"train_examples_{source.name}"] = train.sources[source.name] // train.renderings
        counted[f"train_tokens_{source.name}"] = train.source_tokens[source.name]
    return counted


def left_out(counts: Mapping[str, float], context: int) -> Iterator[str]:
    """Yield a line for each kind of row that was left out or changed, from the counts of `prepare`."""
    too_long = f"are longer than prepare.context of {context} tokens"
    advice = "shorten them, or take a model with a longer context"
    texts = {
        "skipped_examples": f"left out: {{:.0f}} examples {too_long}; {advice}",
        "skipped_items": f"left out: {{:.0f}} questions {too_long}; {advice}",
        "truncated_examples": f"truncated: {{:.0f}} examples {too_long}",
        "split_examples": f"split: {{:.0f}} examples {too_long}",
        "unusable_rows": "left out: {:.0f} rows without an instruction or an answer that can be used",
        "unanswered_rows": "left out: {:.0f} rows to which the base gives no answer that ends",
        "dialogues": "no question was taken from {:.0f} rows of several turns or of plain text",
        "stripped_responses": "{:.0f} responses ended with the text of an end token; taken off",
    }
    for key, text in texts.items():
        if number := counts.get(key):
            yield text.format(number)


def fitting_items(items: Sequence[Item], settings: Prepare, tokenizer: TextTokenizer) -> list[Item]:
    """Return the items that fit the context in every format with every choice."""
    ways = [partial(_asked, FORMATS[name]) for name in settings.formats]
    return fitting(tokenizer, items, ways, settings.context)


def _asked(format_: Format, item: Item) -> tuple[str, list[str]]:
    return format_.prompt(item.question, item.system), [format_.answer(choice) for choice in item.choices]
