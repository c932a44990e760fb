"""Convert instruction data to tokens: draw formats, tokenize, and leave out and count what is too long."""

import itertools
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from steadyphi.data import sources, tables
from steadyphi.data.audit import FILE, Audit, counts
from steadyphi.data.encoding import encode_examples
from steadyphi.data.prepared import measures
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.rows import NAMED
from steadyphi.data.splitting import split
from steadyphi.data.taught import Answer, taught
from steadyphi.data.written import Part, Written
from steadyphi.errors import SteadyPhiError, printable
from steadyphi.files import write_json
from steadyphi.progress import Progress
from steadyphi.prompts import held_out, own_formats
from steadyphi.prompts.fitting import fitting
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.item import Item
from steadyphi.settings.groups import Mixed
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer

DEVELOPMENT = 8  # formats in which validation measures the model
CHUNK = 8192  # dialogues that are tokenized at a time
PLAIN = Format("plain", "{question}", "")  # of plain text, which has no question


def prepare(
    settings: Prepare, file: Path, tokenizer: TextTokenizer, into: Path, answer: Answer | None = None
) -> dict[str, float]:
    """Write train, valid, items and shots as .parquet files into the folder `into`; return the counts.

    answer: the teacher's, if `settings.answers` names formats.
    Raises SteadyPhiError if the data cannot be used or nothing fits the context.
    """
    own_formats.define(settings.prompts)
    material = sources.load(settings, file)
    asked = len(material.train) + len(material.valid)
    if answer and settings.answers:
        train_taught, valid_taught = (
            taught(dialogues, settings.answers, answer) for dialogues in (material.train, material.valid)
        )
        material = replace(material, train=train_taught, valid=valid_taught)
    audit = Audit(settings, material.items, tokenizer)
    with (
        tables.examples_file(into / "train.parquet") as write_train,
        tables.examples_file(into / "valid.parquet") as write_valid,
    ):
        rows = audit.kept(material.train)
        train = _write(write_train, rows, len(material.train), settings, tokenizer, settings.renderings)
        audit.check()
        _check_sources(settings, material.train, train)
        development = _development(settings, material.valid)
        valid_count = max(1, len(development))
        valid = _write(
            write_valid, material.valid, len(material.valid), settings, tokenizer, valid_count, development
        )
        items = fitting_items(material.items, settings, tokenizer)
        shots = fitting_items(material.shots, settings, tokenizer)
        for what, count in (("training example", train.examples), ("validation example", valid.examples)):
            if not count:
                raise SteadyPhiError(
                    f"{sources.data_name(settings)}: no {what} fits prepare.context of "
                    f"{settings.context} tokens"
                )
        if not items:
            questions = settings.task.dataset or settings.task_file
            raise SteadyPhiError(
                f"{questions}: no evaluation item fits prepare.context of {settings.context} tokens"
            )
    for name, recognized in material.recognized.items():
        if name in train.first:
            print(f"{printable(recognized)}; {train.first[name][1]}", file=sys.stderr)
    tables.write_items(into / "items.parquet", items)
    tables.write_items(into / "shots.parquet", shots)
    findings = audit.findings()
    write_json(into / FILE, findings)
    counted: dict[str, float] = {
        "train_examples": train.examples // settings.renderings,
        "renderings": settings.renderings,
        "train_formats": len(train.styles),
        "train_tokens": train.tokens,
        "train_supervised_tokens": train.supervised,
        "valid_examples": valid.examples // valid_count,
        "valid_formats": len(valid.styles),
        "longest_example": train.longest,
        "skipped_examples": train.dropped + valid.dropped,
        "truncated_examples": 0,
        "items": len(items),
        "skipped_items": len(material.items) - len(items),
        "shots": len(shots),
        "unusable_rows": material.unusable,
        "dialogues": material.dialogues,
        "stripped_responses": train.stripped + valid.stripped,
        **counts(findings),
        **measures(into / "train.parquet", tokenizer.eos_id, train.continued),
    }
    if answer:
        counted["unanswered_rows"] = asked - len(material.train) - len(material.valid)
    changed = train.long - train.dropped + valid.long - valid.dropped
    if settings.too_long == "split":
        counted |= {"split_examples": changed, "split_added": train.added}
    else:
        counted["truncated_examples"] = changed
    for source in settings.sources:
        counted[f"train_examples_{source.name}"] = train.sources[source.name] // settings.renderings
        counted[f"train_tokens_{source.name}"] = train.source_tokens[source.name]
    return counted


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


def _write(
    write: tables.Write,
    dialogues: Iterable[Dialogue],
    total: int,
    settings: Prepare,
    tokenizer: TextTokenizer,
    count: int,
    fixed: Sequence[Format] = (),
) -> Written:
    """Tokenize dialogues a chunk at a time, so that memory does not grow with them, and write them."""
    written = Written()
    progress = Progress("prepare", total, "rows") if total > CHUNK else None
    remaining = iter(dialogues)
    while chunk := list(itertools.islice(remaining, CHUNK)):
        part = tokenize(chunk, settings, tokenizer, count, fixed)
        write(part.ids, part.styles, part.examples)
        written.add(part, chunk, tokenizer)
        if progress:
            progress.add(len(chunk))
    if progress:
        progress.close()
    if written.long:
        named = _too_long(written, settings)
        if settings.too_long == "error":
            raise SteadyPhiError(f"{named}; shorten them, or set prepare.too_long to drop, truncate or split")
        print(named, file=sys.stderr)
    return written


def left_out(counts: Mapping[str, float], context: int) -> Iterator[str]:
    """Yield a line for each kind of row that was left out or changed, from the counts of `prepare`."""
    for key, what in (("skipped_examples", "examples"), ("skipped_items", "questions")):
        if counts[key]:
            yield (
                f"left out: {counts[key]:.0f} {what} are longer than prepare.context of {context} tokens; "
                "shorten them, or take a model with a longer context"
            )
    if counts["truncated_examples"]:
        yield (
            f"truncated: {counts['truncated_examples']:.0f} examples are longer than prepare.context of "
            f"{context} tokens"
        )
    if counts.get("split_examples"):
        yield (
            f"split: {counts['split_examples']:.0f} examples are longer than prepare.context of "
            f"{context} tokens"
        )
    if counts["unusable_rows"]:
        yield (
            f"left out: {counts['unusable_rows']:.0f} rows without an instruction or an answer "
            "that can be used"
        )
    if counts.get("unanswered_rows"):
        yield f"left out: {counts['unanswered_rows']:.0f} rows to which the base gives no answer that ends"
    if counts["dialogues"]:
        yield f"no question was taken from {counts['dialogues']:.0f} rows of several turns or of plain text"
    if counts["stripped_responses"]:
        yield f"{counts['stripped_responses']:.0f} responses ended with the text of an end token; taken off"


def tokenize(
    dialogues: Sequence[Dialogue],
    settings: Prepare,
    tokenizer: TextTokenizer,
    count: int,
    fixed: Sequence[Format] = (),
) -> Part:
    """Render each dialogue `count` times, each time in a format drawn anew, and tokenize it.

    fixed: the formats of the renderings, if they are not drawn.
    The format depends on `settings.seed`, the dialogue's id and the number of the rendering.
    `settings.too_long` controls what becomes of a dialogue that is longer than the context in any rendering.
    One that is left out is left out of all.
    """
    asked = [
        (fixed[number] if fixed and not d.plain else _drawn(settings, d, number), d)
        for number in range(count)
        for d in dialogues
    ]
    encoded = encode_examples(tokenizer, asked)
    size = len(dialogues)
    lengths = [max(len(example.tokens) for example in encoded[n::size]) for n in range(size)]
    long = [n for n, length in enumerate(lengths) if length > settings.context]
    examples = [[example] for example in encoded]  # those that each of `asked` becomes
    dropped = set(long)
    if settings.too_long == "truncate":
        examples = [[example.shortened(settings.context)] for example in encoded]
        dropped = {n for n in long if not all(example.supervised for (example,) in examples[n::size])}
    elif settings.too_long == "split":
        for n in long:
            examples[n::size] = split(asked[n::size], encoded[n::size], settings.context, tokenizer)
        dropped = {n for n in long if not examples[n]}
    kept = [(n, e) for n, several in enumerate(examples) if n % size not in dropped for e in several]
    return Part(
        [dialogues[n % size].id for n, _ in kept],
        [asked[n][0].name for n, _ in kept],
        [
            replace(e.last_answer() if settings.supervise == "last" else e, rendering=n // size)
            for n, e in kept
        ],
        [(dialogues[n].id, lengths[n]) for n in long],
        len(dropped),
        sum(len(examples[n]) - 1 for n in long if n not in dropped),
        sum(
            len(several) - 1
            for n, several in enumerate(examples)
            if len(dialogues[n % size].turns) == 1 and several
        ),
    )


def _too_long(written: Written, settings: Prepare) -> str:
    named = ", ".join(f"{row} ({length} tokens)" for row, length in written.first_long)
    more = f" and {written.long - NAMED} more" if written.long > NAMED else ""
    return (
        f"{sources.data_name(settings)}: longer than prepare.context of {settings.context} tokens: "
        f"{named}{more}"
    )


def _development(settings: Prepare, dialogues: Sequence[Dialogue]) -> list[Format]:
    """Return the formats that validation uses; none if no training format is drawn from the grammar."""
    names = [source.name for source in settings.sources] or [""]
    drawn_from = any(_grammar(settings, name) for name in names)
    if not drawn_from or all(dialogue.plain for dialogue in dialogues):
        return []
    held = settings.held_out
    drawn = held_out.development(DEVELOPMENT, settings.seed, held.development.atoms, held.atoms)
    return [format_.format for format_ in drawn]


def _drawn(settings: Prepare, dialogue: Dialogue, rendering: int) -> Format:
    """Return the format of a rendering, drawn from the grammar or from the named styles.

    A source may have a share of the grammar and styles of its own.
    """
    if dialogue.plain:
        return PLAIN
    source = _mixed(settings, dialogue.source)
    rng = random.Random(f"{settings.seed} {dialogue.id} {rendering}")
    if rng.random() < _grammar(settings, dialogue.source):
        untrained, count = settings.held_out.untrained, settings.grammar_formats
        return rng.choice(held_out.trainable(untrained, count, settings.seed)).format
    return FORMATS[rng.choice(source.styles if source and source.styles else settings.styles)]


def _mixed(settings: Prepare, name: str) -> Mixed | None:
    return next((source for source in settings.sources if source.name == name), None)


def _grammar(settings: Prepare, name: str) -> float:
    """Return the share of the grammar in the renderings of a source."""
    source = _mixed(settings, name)
    return settings.grammar if source is None or source.grammar is None else source.grammar


def fitting_items(items: Sequence[Item], settings: Prepare, tokenizer: TextTokenizer) -> list[Item]:
    """Return the items that fit the context in every format with every choice."""
    ways = [partial(_asked, FORMATS[name]) for name in settings.formats]
    return fitting(tokenizer, items, ways, settings.context)


def _asked(format_: Format, item: Item) -> tuple[str, list[str]]:
    return format_.prompt(item.question, item.system), [format_.answer(choice) for choice in item.choices]
