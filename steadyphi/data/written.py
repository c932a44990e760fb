"""Tokenized examples on their way to a file, and what is counted of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from steadyphi.data.packing import Example
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.rows import NAMED, original
from steadyphi.data.token_view import flat, stretches
from steadyphi.tokenizer import TextTokenizer

SHOWN = 400  # characters of the example that is printed


@dataclass(frozen=True)
class Part:
    """A tokenized set of examples.

    long: the ids of the dialogues that are longer than the context, with their length in tokens.
    dropped: the number of those that are left out; the others are shortened or split.
    added: the number of examples of one rendering that splitting added.
    continued: the number of examples that are pieces of plain text or of an answer, and not the last.
    """

    ids: list[str]
    styles: list[str]
    examples: list[Example]
    long: list[tuple[str, int]]
    dropped: int
    added: int
    continued: int


@dataclass
class Written:
    """What is known of the examples in a file.

    renderings: the number of renderings of each dialogue. first: for each source its first row, and the line
    about it.
    """

    renderings: int
    examples: int = 0
    tokens: int = 0
    supervised: int = 0
    longest: int = 0
    long: int = 0
    dropped: int = 0
    added: int = 0
    continued: int = 0
    stripped: int = 0
    styles: set[str] = field(default_factory=set)
    first_long: list[tuple[str, int]] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    source_tokens: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, part: Part, dialogues: Sequence[Dialogue], tokenizer: TextTokenizer) -> None:
        """Count the examples of a part, which was made of these dialogues."""
        lengths = [len(example.tokens) for example in part.examples]
        self.examples += len(lengths)
        self.tokens += sum(lengths)
        self.supervised += sum(example.supervised for example in part.examples)
        self.longest = max(self.longest, *lengths, 0)
        self.long += len(part.long)
        self.dropped += part.dropped
        self.added += part.added
        self.continued += part.continued
        self.first_long += part.long[: NAMED - len(self.first_long)]
        self.stripped += sum(dialogue.ended for dialogue in dialogues)
        self.styles.update(part.styles)
        source_of = {dialogue.id: dialogue.source for dialogue in dialogues}
        for place, (id_, length) in enumerate(zip(part.ids, lengths, strict=True)):
            source = source_of[id_]
            self.sources[source] += 1
            self.source_tokens[source] += length
            row = _number(id_)
            if row < self.first.get(source, (row + 1, ""))[0]:
                self.first[source] = (row, _shown(part, place, tokenizer))


def _number(id_: str) -> int:
    """Return the number of the row in an id such as `row-7`, `chats-row-7` or `row-7-again-1`."""
    return int(original(id_).rpartition("-")[2])


def _shown(part: Part, at: int, tokenizer: TextTokenizer) -> str:
    """Return an example as one line, with ▸ and ◂ around what has a loss."""
    text = flat(list(stretches(part.examples[at], tokenizer)))
    text = "".join(c if c.isprintable() else "\ufffd" for c in text.replace("\n", "⏎").replace("\t", "⇥"))
    cut = text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"
    return f"{part.ids[at]} is trained on in the format {part.styles[at]} as (▸loss◂): {cut}"
