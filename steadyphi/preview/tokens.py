"""An example as HTML: one box per token, and the boundary between prompt and answer."""

from collections.abc import Sequence

from steadyphi.data.token_view import LOSS, PART, Stretch, mark
from steadyphi.report.markup import Markup, join, tag

END = "the end token"


def example(parts: Sequence[Stretch], end: str) -> Markup:
    """Return the tokens of an example. `end` is the text of the end token."""
    shown: list[Markup] = []
    for part in parts:
        if part.loss:
            shown.append(tag("span", LOSS[0], class_="seam", title="the loss begins"))
        last = len(part.texts) - 1
        for number, text in enumerate(part.texts):
            is_end = part.loss and number == last and text == end
            kind = ("loss end" if is_end else "loss") if part.loss else "prompt"
            shown.append(tag("span", mark(text), class_=kind, title=END if is_end else None))
            if text.endswith("\n"):
                shown.append(Markup("\n"))
        if part.loss:
            shown.append(tag("span", LOSS[1], class_="seam", title="the loss ends"))
    return tag("pre", join(shown), class_="tokens")


def legend() -> Markup:
    """Return what the marks stand for."""
    entries = (
        (tag("span", "prompt", class_="prompt"), "a token that is only read"),
        (tag("span", "answer", class_="loss"), "a token with a loss: the model learns to write it"),
        (tag("span", "<|endoftext|>", class_="loss end"), END),
        (tag("span", "".join(LOSS), class_="seam"), "where the loss begins and ends"),
        (tag("span", "␣ ⏎ ⇥", class_="sign"), "space, newline, tab"),
        (tag("span", PART, class_="sign"), "a part of the next character"),
    )
    return tag("ul", *(tag("li", sign, " ", text) for sign, text in entries), class_="legend tokens")
