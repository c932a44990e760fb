"""Convert instruction data to tokens: draw formats, tokenize, and leave out and count what is too long."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from steadyphi.data import sources, tables
from steadyphi.data.packing import Example
from steadyphi.data.sources import Pair
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import held_out
from steadyphi.prompts.fitting import fitting
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.item import Item
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Part:
    """A tokenized set of examples."""

    ids: list[str]
    styles: list[str]
    examples: list[Example]
    skipped: int  # the number of examples longer than the context


def prepare(settings: Prepare, file: Path, tokenizer: TextTokenizer, into: Path) -> dict[str, float]:
    """Write train, valid, items and shots as .parquet files into the folder `into`; return the counts.

    Raises SteadyPhiError if the data cannot be used or nothing fits the context.
    """
    material = sources.load(settings, file)
    train = tokenize(material.train, settings, tokenizer, settings.renderings)
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
    for name, part in (("train", train), ("valid", valid)):
        tables.write_examples(into / f"{name}.parquet", part.ids, part.styles, part.examples)
    tables.write_items(into / "items.parquet", items)
    tables.write_items(into / "shots.parquet", shots)
    return {
        "train_examples": len(train.examples) // settings.renderings,
        "renderings": settings.renderings,
        "train_formats": len(set(train.styles)),
        "train_tokens": sum(len(e.tokens) for e in train.examples),
        "train_supervised_tokens": sum(len(e.tokens) - e.prompt for e in train.examples),
        "valid_examples": len(valid.examples),
        "longest_example": max(len(e.tokens) for e in train.examples),
        "skipped_examples": train.skipped + valid.skipped,
        "items": len(items),
        "skipped_items": len(material.items) - len(items),
        "shots": len(shots),
        "unusable_rows": material.unusable,
        "stripped_responses": sum(pair.ended for pair in (*material.train, *material.valid)),
    }


def left_out(counts: Mapping[str, float], context: int) -> Iterator[str]:
    """Yield a line for each kind of row that was left out or changed, from the counts of `prepare`."""
    for key, what in (("skipped_examples", "examples"), ("skipped_items", "questions")):
        if counts[key]:
            yield (
                f"left out: {counts[key]:.0f} {what} are longer than prepare.context of {context} tokens; "
                "shorten them, or take a model with a longer context"
            )
    if counts["unusable_rows"]:
        yield (
            f"left out: {counts['unusable_rows']:.0f} rows without an instruction or an answer "
            "that can be used"
        )
    if counts["stripped_responses"]:
        yield f"{counts['stripped_responses']:.0f} responses ended with the text of an end token; taken off"


def tokenize(pairs: Sequence[Pair], settings: Prepare, tokenizer: TextTokenizer, renderings: int) -> Part:
    """Render each pair `renderings` times, each time in a format drawn anew, and tokenize it.

    The format depends on `settings.seed`, the pair's id and the number of the rendering. A pair that is
    longer than the context in any rendering is left out of all.
    """
    parts: list[tuple[list[str], list[Example]]] = []
    for number in range(renderings):
        formats = [_drawn(settings, pair.id, number) for pair in pairs]
        texts = [
            (format_.prompt(pair.question), format_.answer(pair.response))
            for format_, pair in zip(formats, pairs, strict=True)
        ]
        examples = [replace(e, rendering=number) for e in encode_examples(tokenizer, texts)]
        parts.append(([format_.name for format_ in formats], examples))
    fits = [
        all(len(examples[n].tokens) <= settings.context for _, examples in parts) for n in range(len(pairs))
    ]
    kept = [n for n, fit in enumerate(fits) if fit]
    return Part(
        [pairs[n].id for _ in parts for n in kept],
        [styles[n] for styles, _ in parts for n in kept],
        [examples[n] for _, examples in parts for n in kept],
        len(pairs) - len(kept),
    )


def _drawn(settings: Prepare, pair: str, rendering: int) -> Format:
    """Return the format of a rendering, drawn from the grammar or from the named styles."""
    rng = random.Random(f"{settings.seed} {pair} {rendering}")
    if rng.random() < settings.grammar:
        return rng.choice(held_out.trainable(settings.held_out.atoms)).format
    return FORMATS[rng.choice(settings.styles)]


def encode_examples(tokenizer: TextTokenizer, pairs: Sequence[tuple[str, str]]) -> list[Example]:
    """Tokenize (prompt, response) pairs and append the end token.

    Prompt and response are tokenized separately, as at inference. The end token is supervised in every
    example, so that the model learns to stop.
    """
    prompts = tokenizer.encode_batch([prompt for prompt, _ in pairs])
    responses = tokenizer.encode_batch([response for _, response in pairs])
    return [
        Example([*prompt, *response, tokenizer.eos_id], len(prompt))
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def fitting_items(items: Sequence[Item], settings: Prepare, tokenizer: TextTokenizer) -> list[Item]:
    """Return the items that fit the context in every format with every choice."""
    ways = [partial(_asked, FORMATS[name]) for name in settings.formats]
    return fitting(tokenizer, items, ways, settings.context)


def _asked(format_: Format, item: Item) -> tuple[str, list[str]]:
    return format_.prompt(item.question), [format_.answer(choice) for choice in item.choices]
