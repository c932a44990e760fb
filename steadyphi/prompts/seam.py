"""The seam, where the prompt ends and the answer begins, and the tokens on both sides of it.

When a model is used, the prompt is encoded alone and the model continues it, so a token always ends at the
seam. In running text a token may cross it: `Output: Paris` contains the token `␣Paris`, but after the prompt
`Output:␣` the model has to continue with `Paris`, which it has hardly ever seen after a space. The effect is
described in Scott Lundberg's `The Art of Prompt Design: Prompt Boundaries and Token Healing` (2023). This
module only reports the effect; it does not heal tokens.
"""

from dataclasses import dataclass

from steadyphi.prompts.formats import visible
from steadyphi.tokenizer import TextTokenizer

SHOWN = 2  # tokens on each side of the seam


@dataclass(frozen=True)
class Boundary:
    """The tokens before and after the seam, and whether running text has the same tokens.

    before, after: the last tokens of the prompt and the first of the answer, each encoded alone.
    merges: whether a token crosses the seam when prompt and answer are encoded as one text.
    natural: whether that text has exactly the prompt's tokens followed by the answer's. This can be false
        although no token crosses the seam: in `⏎⏎Paris` the two newlines are one token at the end of a
        prompt and two in running text.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    merges: bool
    natural: bool

    @property
    def summary(self) -> str:
        """The boundary as one line, such as `…"Output" ":" │ "␣Paris" · merges: no`."""
        left, right = (" ".join(f'"{visible(t)}"' for t in side) for side in (self.before, self.after))
        note = "" if self.natural or self.merges else " · encoded otherwise in running text"
        return f"…{left} │ {right} · merges: {'yes' if self.merges else 'no'}{note}"


def audit(tokenizer: TextTokenizer, prompt: str, answer: str) -> Boundary:
    """Return the tokens at the seam between `prompt` and `answer`, neither of which may be empty."""
    before, after = tokenizer.encode(prompt), tokenizer.encode(answer)
    whole = tokenizer.encode(prompt + answer)
    return Boundary(
        tuple(tokenizer.decode([token]) for token in before[-SHOWN:]),
        tuple(tokenizer.decode([token]) for token in after[:SHOWN]),
        merges=not _has_end_at(tokenizer, whole, prompt),
        natural=whole == before + after,
    )


def _has_end_at(tokenizer: TextTokenizer, tokens: list[int], prompt: str) -> bool:
    """Return whether one of the tokens ends exactly where the prompt ends, so that none crosses the seam."""
    size = len(tokens)
    text = tokenizer.decode(tokens)
    while size and len(text) > len(prompt):
        size -= 1
        text = tokenizer.decode(tokens[:size])
    return text == prompt
