"""Convert instruction data to tokens: draw formats, tokenize, and leave out and count what is too long."""

import itertools
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from steadyphi.data import sources, tables
from steadyphi.data.audit import FILE, Audit, counts
from steadyphi.data.packing import Example
from steadyphi.data.prepared import measures
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.rows import NAMED
from steadyphi.data.token_view import flat, stretches
from steadyphi.errors import SteadyPhiError
from steadyphi.files import write_json
from steadyphi.prompts import held_out
from steadyphi.prompts.dialogue import SEPARATOR
from steadyphi.prompts.fitting import fitting
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.item import Item
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer

SHOWN = 400  # characters of the example that is printed
PLAIN = Format("plain", "{question}", "")  # of plain text, which has no question


@dataclass(frozen=True)
class Part:
    """A tokenized set of examples."""

    ids: list[str]
    styles: list[str]
    examples: list[Example]
    skipped: int  # the number of examples that are left out because they are longer than the context
    truncated: int  # the number of examples that are shortened


def prepare(settings: Prepare, file: Path, tokenizer: TextTokenizer, into: Path) -> dict[str, float]:
    """Write train, valid, items and shots as .parquet files into the folder `into`; return the counts.

    Raises SteadyPhiError if the data cannot be used or nothing fits the context.
    """
    material = sources.load(settings, file)
    audit = Audit(settings, material.items, tokenizer)
    rows = list(audit.kept(material.train))
    audit.check()
    train = tokenize(rows, settings, tokenizer, settings.renderings)
    valid = tokenize(material.valid, settings, tokenizer, 1)
    items = fitting_items(material.items, settings, tokenizer)
    shots = fitting_items(material.shots, settings, tokenizer)
    for what, examples in (("training example", train.examples), ("validation example", valid.examples)):
        if not examples:
            raise SteadyPhiError(
                f"{settings.data_file}: no {what} fits prepare.context of {settings.context} tokens"
            )
    if not items:
        source = settings.task.dataset or settings.task_file
        raise SteadyPhiError(
            f"{source}: no evaluation item fits prepare.context of {settings.context} tokens"
        )
    if material.recognized:
        print(f"{material.recognized}; {_first(train, tokenizer)}", file=sys.stderr)
    for name, part in (("train", train), ("valid", valid)):
        tables.write_examples(into / f"{name}.parquet", part.ids, part.styles, part.examples)
    tables.write_items(into / "items.parquet", items)
    tables.write_items(into / "shots.parquet", shots)
    findings = audit.findings()
    write_json(into / FILE, findings)
    return {
        "train_examples": len(train.examples) // settings.renderings,
        "renderings": settings.renderings,
        "train_formats": len(set(train.styles)),
        "train_tokens": sum(len(e.tokens) for e in train.examples),
        "train_supervised_tokens": sum(e.supervised for e in train.examples),
        "valid_examples": len(valid.examples),
        "longest_example": max(len(e.tokens) for e in train.examples),
        "skipped_examples": train.skipped + valid.skipped,
        "truncated_examples": train.truncated + valid.truncated,
        "items": len(items),
        "skipped_items": len(material.items) - len(items),
        "shots": len(shots),
        "unusable_rows": material.unusable,
        "dialogues": material.dialogues,
        "stripped_responses": sum(dialogue.ended for dialogue in (*rows, *material.valid)),
        **counts(findings),
        **measures(into / "train.parquet", tokenizer.eos_id),
    }


def _first(part: Part, tokenizer: TextTokenizer) -> str:
    """Return the example of the smallest row number as one line, with ▸ and ◂ around what has a loss."""
    at = min(range(len(part.ids)), key=lambda n: int(part.ids[n].rpartition("-")[2]))
    text = flat(list(stretches(part.examples[at], tokenizer)))
    text = "".join(c if c.isprintable() else "\ufffd" for c in text.replace("\n", "⏎").replace("\t", "⇥"))
    cut = text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"
    return f"{part.ids[at]} is trained on in the format {part.styles[at]} as (▸loss◂): {cut}"


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
    if counts["unusable_rows"]:
        yield (
            f"left out: {counts['unusable_rows']:.0f} rows without an instruction or an answer "
            "that can be used"
        )
    if counts["dialogues"]:
        yield f"no question was taken from {counts['dialogues']:.0f} rows of several turns or of plain text"
    if counts["stripped_responses"]:
        yield f"{counts['stripped_responses']:.0f} responses ended with the text of an end token; taken off"


def tokenize(dialogues: Sequence[Dialogue], settings: Prepare, tokenizer: TextTokenizer, count: int) -> Part:
    """Render each dialogue `count` times, each time in a format drawn anew, and tokenize it.

    The format depends on `settings.seed`, the dialogue's id and the number of the rendering.
    `settings.too_long` controls what becomes of a dialogue that is longer than the context in any rendering.
    One that is left out is left out of all. Raises SteadyPhiError that names the rows if it is "error".
    """
    parts: list[tuple[list[str], list[Example]]] = []
    for number in range(count):
        asked = [(_drawn(settings, dialogue, number), dialogue) for dialogue in dialogues]
        examples = [replace(e, rendering=number) for e in encode_examples(tokenizer, asked)]
        parts.append(([format_.name for format_, _ in asked], examples))
    lengths = [max(len(examples[n].tokens) for _, examples in parts) for n in range(len(dialogues))]
    long = [n for n, length in enumerate(lengths) if length > settings.context]
    if long and settings.too_long == "error":
        raise SteadyPhiError(_too_long([(dialogues[n].id, lengths[n]) for n in long], settings))
    dropped = set(long)
    if settings.too_long == "truncate":
        parts = [(styles, [e.shortened(settings.context) for e in examples]) for styles, examples in parts]
        dropped = {n for n in long if any(not examples[n].supervised for _, examples in parts)}
    kept = [n for n in range(len(dialogues)) if n not in dropped]
    return Part(
        [dialogues[n].id for _ in parts for n in kept],
        [styles[n] for styles, _ in parts for n in kept],
        [examples[n] for _, examples in parts for n in kept],
        len(dropped),
        len(long) - len(dropped),
    )


def _too_long(rows: list[tuple[str, int]], settings: Prepare) -> str:
    named = ", ".join(f"{row} ({length} tokens)" for row, length in rows[:NAMED])
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return (
        f"{settings.data_file}: longer than prepare.context of {settings.context} tokens: {named}{more}; "
        "shorten them, or set prepare.too_long to drop or truncate"
    )


def _drawn(settings: Prepare, dialogue: Dialogue, rendering: int) -> Format:
    """Return the format of a rendering, drawn from the grammar or from the named styles."""
    if dialogue.plain:
        return PLAIN
    rng = random.Random(f"{settings.seed} {dialogue.id} {rendering}")
    if rng.random() < settings.grammar:
        return rng.choice(held_out.trainable(settings.held_out.atoms)).format
    return FORMATS[rng.choice(settings.styles)]


def encode_examples(tokenizer: TextTokenizer, asked: Sequence[tuple[Format, Dialogue]]) -> list[Example]:
    """Tokenize dialogues, each in its format, with the token ids of a chat of the same turns.

    Prompt, answer and separator are tokenized separately, as during generation. Every answer is supervised,
    and the end token after it, so that the model learns to stop.
    """
    prompts, answers = list[str](), list[str]()
    for format_, dialogue in asked:
        prompts += dialogue.prompts(format_)
        answers += [format_.answer(answer) for _, answer in dialogue.turns]
    encoded = zip(tokenizer.encode_batch(prompts), tokenizer.encode_batch(answers), strict=True)
    between = tokenizer.encode(SEPARATOR)
    return [
        _example(list(itertools.islice(encoded, len(dialogue.turns))), between, tokenizer.eos_id)
        for _, dialogue in asked
    ]


def _example(turns: list[tuple[list[int], list[int]]], between: list[int], end: int) -> Example:
    """Join the turns of a document, each the ids of its prompt and of its answer."""
    (prompt, answer), *more = turns
    tokens, later = [*prompt, *answer], list[int]()
    for question, reply in more:
        later += [len(tokens), len(tokens) + len(between) + len(question)]
        tokens += [*between, *question, *reply]
    tokens.append(end)
    return Example(tokens, len(prompt), later=later)


def fitting_items(items: Sequence[Item], settings: Prepare, tokenizer: TextTokenizer) -> list[Item]:
    """Return the items that fit the context in every format with every choice."""
    ways = [partial(_asked, FORMATS[name]) for name in settings.formats]
    return fitting(tokenizer, items, ways, settings.context)


def _asked(format_: Format, item: Item) -> tuple[str, list[str]]:
    return format_.prompt(item.question), [format_.answer(choice) for choice in item.choices]
