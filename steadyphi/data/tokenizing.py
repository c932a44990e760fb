"""Dialogues become tokenized examples: rendered in their formats, fitted into the context, and written."""

import itertools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace

from steadyphi.data import sources, tables
from steadyphi.data.encoding import encode_examples
from steadyphi.data.packing import Example
from steadyphi.data.rendering import drawn
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.rows import NAMED
from steadyphi.data.splitting import split
from steadyphi.data.written import Part, Written
from steadyphi.errors import SteadyPhiError
from steadyphi.progress import Progress
from steadyphi.prompts.formats import Format
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer

CHUNK = 8192  # dialogues that are tokenized at a time


def write_examples(
    write: tables.Write,
    dialogues: Iterable[Dialogue],
    total: int,
    settings: Prepare,
    tokenizer: TextTokenizer,
    count: int,
    fixed: Sequence[Format] = (),
) -> Written:
    """Tokenize dialogues a chunk at a time, so that memory does not grow with them, and write them.

    total: the number of dialogues before the audit, for the progress line. count, fixed: as in `tokenize`.
    Raises SteadyPhiError for a dialogue that is too long, if `settings.too_long` is "error".
    """
    written = Written(count)
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
        problem = _too_long(written, settings)
        if settings.too_long == "error":
            raise SteadyPhiError(
                f"{problem}; shorten them, or set prepare.too_long to drop, truncate or split"
            )
        print(problem, file=sys.stderr)
    return written


def tokenize(
    dialogues: Sequence[Dialogue],
    settings: Prepare,
    tokenizer: TextTokenizer,
    count: int,
    fixed: Sequence[Format] = (),
) -> Part:
    """Render each dialogue `count` times, each time in a format drawn anew, and tokenize it.

    fixed: the formats of the renderings, if they are not drawn.
    `settings.too_long` controls what becomes of a dialogue that is longer than the context in any rendering.
    One that is left out is left out of all.
    """
    # All dialogues in their first rendering, then all in their second, and so on.
    asked = [
        (fixed[number] if fixed and not d.plain else drawn(settings, d, number), d)
        for number in range(count)
        for d in dialogues
    ]
    encoded = encode_examples(tokenizer, asked)
    size = len(dialogues)
    lengths = [max(len(example.tokens) for example in encoded[n::size]) for n in range(size)]
    long = [n for n, length in enumerate(lengths) if length > settings.context]
    examples = [[example] for example in encoded]  # for each dialogue and format in `asked`
    for n in long:
        examples[n::size] = _fitted(asked[n::size], encoded[n::size], settings, tokenizer)
    dropped = {n for n in long if not all(examples[n::size])}
    kept = [(n, e) for n, pieces in enumerate(examples) if n % size not in dropped for e in pieces]
    only_last = settings.supervise == "last"
    return Part(
        ids=[dialogues[n % size].id for n, _ in kept],
        styles=[asked[n][0].name for n, _ in kept],
        examples=[replace(e.last_answer() if only_last else e, rendering=n // size) for n, e in kept],
        long=[(dialogues[n].id, lengths[n]) for n in long],
        dropped=len(dropped),
        added=sum(len(examples[n]) - 1 for n in long if n not in dropped),
        continued=sum(
            len(pieces) - 1
            for n, pieces in enumerate(examples)
            if len(dialogues[n % size].turns) == 1 and pieces
        ),
    )


def _fitted(
    asked: Sequence[tuple[Format, Dialogue]],
    wholes: Sequence[Example],
    settings: Prepare,
    tokenizer: TextTokenizer,
) -> list[list[Example]]:
    """Return what a dialogue that is too long becomes: the examples of each rendering, or none.

    asked: the dialogue in the format of each rendering. wholes: the same, tokenized.
    """
    if settings.too_long == "split":
        return split(asked, wholes, settings.context, tokenizer)
    if settings.too_long == "truncate":
        shortened = (whole.shortened(settings.context) for whole in wholes)
        return [[example] if example.supervised else [] for example in shortened]
    return [[] for _ in wholes]


def _too_long(written: Written, settings: Prepare) -> str:
    rows = ", ".join(f"{row} ({length} tokens)" for row, length in written.first_long)
    more = f" and {written.long - NAMED} more" if written.long > NAMED else ""
    name = sources.data_name(settings)
    return f"{name}: longer than prepare.context of {settings.context} tokens: {rows}{more}"
