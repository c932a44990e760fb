"""Text out of tokens that come one by one: whole characters only, and nothing of a stop string."""

import re
from collections.abc import Sequence
from typing import Protocol

# What moves a terminal's cursor, changes its colours or speaks to it: all control characters but \n and \t.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BROKEN = "\ufffd"


class Vocabulary(Protocol):
    """What generation asks of a tokenizer."""

    size: int

    @property
    def eos_ids(self) -> Sequence[int]: ...

    def decode(self, ids: list[int]) -> str: ...


class Detokenizer:
    """Gives the text of each further token; its pieces together are the text of all tokens at once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.held: list[int] = []

    def push(self, token: int) -> str:
        """Return the text that is complete now; a character whose bytes are not all there is held back."""
        self.held.append(token)
        text = self.vocabulary.decode(self.held)
        if text.endswith(_BROKEN):
            return ""
        self.held.clear()
        return text

    def finish(self) -> str:
        """Return what was held back, with U+FFFD for what is no character."""
        text = self.vocabulary.decode(self.held) if self.held else ""
        self.held.clear()
        return text


class Stops:
    """Passes text on up to the first stop string that is complete, wherever the pieces are cut."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = [stop for stop in stops if stop]
        self.held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """Return what may be shown now: nothing of a stop string, nor of what may become one."""
        if not self.stops or self.found is not None:
            return "" if self.found is not None else text
        self.held += text
        # The one that ends first counts, and of those the longest: so it does not matter how the text came.
        ends = [(start + len(s), start, s) for s in self.stops if (start := self.held.find(s)) >= 0]
        if ends:
            _, start, self.found = min(ends)
            return self._release(start)
        longest = max(map(len, self.stops)) - 1
        for start in range(max(0, len(self.held) - longest), len(self.held)):
            if any(stop.startswith(self.held[start:]) for stop in self.stops):
                return self._release(start)
        return self._release(len(self.held))

    def finish(self) -> str:
        """Return what was held back, now that no stop string can become complete."""
        return "" if self.found is not None else self._release(len(self.held))

    def _release(self, count: int) -> str:
        text, self.held = self.held[:count], self.held[count:]
        return text


def printable(text: str) -> str:
    """Return the text without what would drive a terminal."""
    return _CONTROL.sub("", text)
