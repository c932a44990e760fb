"""Where prompt and answer meet in tokens: an audit of the seam.

In use a prompt is encoded alone and the model continues it, so a token ends where the prompt ends. In
running text a token may reach across: in `Output: Paris` it is `␣Paris`, but after the prompt
`Output:␣` the model has to continue with `Paris`, which it has hardly ever seen after a space. The
effect is described in Scott Lundberg's `The Art of Prompt Design: Prompt Boundaries and Token Healing`
(2023); nothing is healed here, it is only shown.
"""

from dataclasses import dataclass

from steadyphi.prompts.formats import visible
from steadyphi.tokenizer import TextTokenizer

SHOWN = 2  # tokens on each side of the seam


@dataclass(frozen=True)
class Boundary:
    """The tokens around the seam as in use, and whether running text has the same.

    merges: in the text encoded as a whole a token reaches across the seam.
    natural: the whole is encoded as the prompt followed by the answer. It may be encoded otherwise
    without a token across: of `⏎⏎Paris` the two newlines are one token in a prompt's end and two in
    running text.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    merges: bool
    natural: bool

    @property
    def summary(self) -> str:
        """One line such as `…"Output" ":" │ "␣Paris" · merges: no`."""
        left, right = (" ".join(f'"{visible(t)}"' for t in side) for side in (self.before, self.after))
        note = "" if self.natural or self.merges else " · encoded otherwise in running text"
        return f"…{left} │ {right} · merges: {'yes' if self.merges else 'no'}{note}"


def audit(tokenizer: TextTokenizer, prompt: str, answer: str) -> Boundary:
    """Return what happens in tokens where `answer` is put behind `prompt`, neither empty."""
    before, after = tokenizer.encode(prompt), tokenizer.encode(answer)
    whole = tokenizer.encode(prompt + answer)
    return Boundary(
        tuple(tokenizer.decode([token]) for token in before[-SHOWN:]),
        tuple(tokenizer.decode([token]) for token in after[:SHOWN]),
        merges=not _has_end_at(tokenizer, whole, prompt),
        natural=whole == before + after,
    )


def _has_end_at(tokenizer: TextTokenizer, tokens: list[int], prompt: str) -> bool:
    """Return whether one of the tokens ends where the prompt does, so none reaches across."""
    size = len(tokens)
    text = tokenizer.decode(tokens)
    while size and len(text) > len(prompt):
        size -= 1
        text = tokenizer.decode(tokens[:size])
    return text == prompt
