"""Text from tokens that arrive one by one: only whole characters, and no part of a stop string."""

import re
from collections.abc import Sequence
from typing import Protocol

# All control characters but \n and \t: they move the cursor of a terminal, change its colours or control it.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BROKEN = "\ufffd"


class Vocabulary(Protocol):
    """The part of a tokenizer that generation uses."""

    size: int

    @property
    def eos_ids(self) -> Sequence[int]: ...

    def decode(self, ids: list[int]) -> str: ...


class Detokenizer:
    """Decodes tokens one by one. The pieces together equal the text of all tokens decoded at once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.held: list[int] = []

    def push(self, token: int) -> str:
        """Add a token; return the text that is complete. A character with missing bytes is held back."""
        self.held.append(token)
        text = self.vocabulary.decode(self.held)
        if text.endswith(_BROKEN):
            return ""
        self.held.clear()
        return text

    def finish(self) -> str:
        """Return the text that was held back, with U+FFFD for incomplete characters."""
        text = self.vocabulary.decode(self.held) if self.held else ""
        self.held.clear()
        return text


class Stops:
    """Passes text through, up to the first complete stop string, however the text is divided into pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = [stop for stop in stops if stop]
        self.held = ""
        self.reached: str | None = None

    def push(self, text: str) -> str:
        """Add text; return the text that may be shown: no part of a stop string, complete or possible."""
        if not self.stops or self.reached is not None:
            return "" if self.reached is not None else text
        self.held += text
        # The stop string that ends first counts; of several, the longest. So the pieces make no difference.
        ends = [(start + len(s), start, s) for s in self.stops if (start := self.held.find(s)) >= 0]
        if ends:
            _, start, self.reached = min(ends)
            return self._release(start)
        longest = max(map(len, self.stops)) - 1
        for start in range(max(0, len(self.held) - longest), len(self.held)):
            if any(stop.startswith(self.held[start:]) for stop in self.stops):
                return self._release(start)
        return self._release(len(self.held))

    def finish(self) -> str:
        """Return the text that was held back, because no stop string can become complete any more."""
        return "" if self.reached is not None else self._release(len(self.held))

    def _release(self, count: int) -> str:
        text, self.held = self.held[:count], self.held[count:]
        return text


def printable(text: str) -> str:
    """Return the text without the characters that control a terminal."""
    return _CONTROL.sub("", text)
