"""Dialogues in their prompt formats, as token ids."""

import itertools
from collections.abc import Sequence

from steadyphi.data.packing import Example
from steadyphi.data.row_formats import Dialogue
from steadyphi.prompts.dialogue import SEPARATOR
from steadyphi.prompts.formats import Format
from steadyphi.tokenizer import TextTokenizer


def encode_examples(tokenizer: TextTokenizer, asked: Sequence[tuple[Format, Dialogue]]) -> list[Example]:
    """Tokenize dialogues, each in its format, with the token ids of a chat of the same turns.

    Prompt, answer and separator are tokenized separately, as during generation. Every answer is supervised,
    and the end token after it, so that the model learns to stop.
    """
    prompts, answers = list[str](), list[str]()
    for format_, dialogue in asked:
        prompts += dialogue.prompts(format_)
        answers += [format_.answer(answer) for _, answer in dialogue.turns]
    ids = _encoded(tokenizer, [*prompts, *answers])
    encoded = zip(map(ids.__getitem__, prompts), map(ids.__getitem__, answers), strict=True)
    between = tokenizer.encode(SEPARATOR)
    return [
        _example(list(itertools.islice(encoded, len(dialogue.turns))), between, tokenizer.eos_id)
        for _, dialogue in asked
    ]


def _encoded(tokenizer: TextTokenizer, texts: Sequence[str]) -> dict[str, list[int]]:
    """Return the ids of each text. One that occurs again, as an answer in each rendering, costs nothing."""
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, tokenizer.encode_batch(distinct), strict=True))


def _example(turns: list[tuple[list[int], list[int]]], between: list[int], end: int) -> Example:
    """Join the turns of a document, each the ids of its prompt and of its answer."""
    (prompt, answer), *more = turns
    if not more:
        return Example([*prompt, *answer, end], len(prompt))
    tokens, later = [*prompt, *answer], list[int]()
    for question, reply in more:
        later += [len(tokens), len(tokens) + len(between) + len(question)]
        tokens += [*between, *question, *reply]
    tokens.append(end)
    return Example(tokens, len(prompt), later=later)
