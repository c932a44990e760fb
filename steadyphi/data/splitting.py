"""Documents that are longer than the context, as several examples that fit (`prepare.too_long: split`)."""

from collections.abc import Sequence
from dataclasses import replace

from steadyphi.data.encoding import encode_examples
from steadyphi.data.packing import Example
from steadyphi.data.row_formats import Dialogue
from steadyphi.prompts.formats import Format
from steadyphi.tokenizer import TextTokenizer


def split(
    asked: Sequence[tuple[Format, Dialogue]], wholes: Sequence[Example], most: int, tokenizer: TextTokenizer
) -> list[list[Example]]:
    """Return the examples of at most `most` tokens into which a document is split, for each rendering.

    asked: the document in the format of each rendering. wholes: the same, tokenized.
    All renderings are split at the same places, so that the examples of two can be compared. A dialogue is
    split before a question. If one of its turns alone is too long, there are no examples. A single answer is
    cut; if its question leaves no room for an answer, there are no examples.
    """
    document = asked[0][1]
    if document.plain and most > 1:
        return [pieces(whole, most) for whole in wholes]
    if document.asks_once:
        return _answers(wholes, most)
    parts = _dialogues(asked, wholes, most, tokenizer)
    return [encode_examples(tokenizer, [(format_, part) for part in parts]) for format_, _ in asked]


def pieces(text: Example, most: int) -> list[Example]:
    """Cut plain text into examples of at most `most` tokens, at least 2.

    Each begins with the last token of the one before, because the first token of an example has no loss.
    So every token of the text but the first is a target once, and the end token follows only the last.
    """
    begins = range(0, len(text.tokens) - 1, most - 1)
    return [replace(text, tokens=text.tokens[begin : begin + most]) for begin in begins]


def _answers(wholes: Sequence[Example], most: int) -> list[list[Example]]:
    """Cut the answer to one question: the first example has the question, the others continue the answer.

    The places are counted from the end, because the formats of two renderings differ before the answer.
    """
    prompt = max(whole.prompt for whole in wholes)
    sizes = [len(whole.tokens) - whole.prompt for whole in wholes]
    rest = prompt + max(sizes) - most  # tokens that do not fit into the first example in every rendering
    if min(sizes) <= rest:
        return [[] for _ in wholes]
    firsts = [replace(whole, tokens=whole.tokens[:-rest]) for whole in wholes]
    others = [pieces(replace(whole, tokens=whole.tokens[-rest - 1 :], prompt=0), most) for whole in wholes]
    return [[first, *more] for first, more in zip(firsts, others, strict=True)]


def _dialogues(
    asked: Sequence[tuple[Format, Dialogue]], wholes: Sequence[Example], most: int, tokenizer: TextTokenizer
) -> list[Dialogue]:
    """Return the dialogue's turns as dialogues that fit in every rendering, each with as many as possible."""
    dialogue = asked[0][1]
    turns = dialogue.turns
    alone = [replace(dialogue, turns=(turn,)) for turn in turns]
    # For each rendering: the tokens of each turn as the first of a dialogue, and the place where it ends.
    first = [[len(e.tokens) for e in encode_examples(tokenizer, [(f, d) for d in alone])] for f, _ in asked]
    ends = [[min(answer.stop, len(whole.tokens) - 1) for answer in whole.answers()] for whole in wholes]

    def fits(begin: int, last: int) -> bool:
        sizes = (f[begin] + e[last] - e[begin] for f, e in zip(first, ends, strict=True))
        return all(size <= most for size in sizes)

    parts, begin = list[Dialogue](), 0
    for n in range(len(turns)):
        if not fits(n, n):
            return []
        if not fits(begin, n):
            parts.append(replace(dialogue, turns=turns[begin:n]))
            begin = n
    return [*parts, replace(dialogue, turns=turns[begin:])]
