"""Training examples token by token, as people read them: every token apart, and which of them have a loss."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from steadyphi.data.packing import Example
from steadyphi.errors import printable
from steadyphi.prompts.formats import visible
from steadyphi.tokenizer import TextTokenizer

PART = "⋯"  # a token that is the beginning of a character whose last bytes are in a later token
MOST_PARTS = 4  # a character has at most four bytes, so at most four tokens
BETWEEN = "·"  # two tokens, in plain text
LOSS = ("▸", "◂")  # around the tokens with a loss, in plain text


@dataclass(frozen=True)
class Stretch:
    """Neighbouring tokens that all have a loss, or all have none. The texts of the tokens are exact."""

    texts: list[str]
    loss: bool


def stretches(example: Example, tokenizer: TextTokenizer) -> Iterator[Stretch]:
    """Yield an example's prompts and answers in order, each answer with the end token as its last target."""
    done = 0
    for answer in example.answers():
        if example.tokens[done : answer.start]:
            yield Stretch(texts(example.tokens[done : answer.start], tokenizer), loss=False)
        targets = example.tokens[answer.start : answer.stop]
        if answer.stop < len(example.tokens):
            targets.append(example.tokens[-1])
        if targets:
            yield Stretch(texts(targets, tokenizer), loss=True)
        done = answer.stop


def shortened(part: Stretch, most: int) -> Stretch:
    """Return a stretch of more than `most` tokens with their number in place of those in the middle."""
    left_out = len(part.texts) - most
    if left_out <= 0:
        return part
    begin, end = part.texts[: most // 2], part.texts[len(part.texts) - (most - most // 2) :]
    return Stretch([*begin, f"[…{left_out:,} tokens…]", *end], part.loss)


def texts(ids: Sequence[int], tokenizer: TextTokenizer) -> list[str]:
    """Return the text of each token. A character of several tokens is the text of its last, see `PART`."""
    shown, begun = list[str](), list[int]()
    for number, token in enumerate(ids, 1):
        begun.append(token)
        text = tokenizer.decode(begun)
        if text.endswith("\ufffd") and len(begun) < MOST_PARTS and number < len(ids):
            shown.append(PART)
        else:
            shown.append(text)
            begun.clear()
    return shown


def mark(text: str) -> str:
    """Return a token's text with its white space shown, and without what could control a terminal."""
    return "".join(printable(c) for c in visible(text))


def drawn(parts: Sequence[Stretch], paint: Callable[[str, str], str] = lambda text, _: text) -> str:
    """Return the tokens as text: `·` between two, ▸ and ◂ around those with a loss, a line for each newline.

    paint: receives each token and each mark with its kind (`prompt`, `loss` or `mark`), and may add colour.
    """
    text = ""
    for part in parts:
        gap = paint(LOSS[0], "mark") if part.loss else ""
        for piece in part.texts:
            text += gap + paint(mark(piece), "loss" if part.loss else "prompt")
            gap = paint(BETWEEN, "mark")
            if piece.endswith("\n"):
                text, gap = f"{text}\n", ""
        text += paint(LOSS[1], "mark") if part.loss else ""
    return text


def flat(parts: Sequence[Stretch]) -> str:
    """Return the text without marks between tokens, with ▸ and ◂ around what has a loss."""
    joined = ((part.loss, "".join(part.texts)) for part in parts)
    return "".join(f"{LOSS[0]}{text}{LOSS[1]}" if loss else text for loss, text in joined)
