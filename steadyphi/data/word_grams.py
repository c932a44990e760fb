"""Runs of words (n-grams) of many texts at once, as 64-bit hashes.

Words are what is between white space, in lower case and without punctuation around them.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio, made odd (Knuth's multiplier)
PUNCTUATION = ".,;:!?\"'()[]{}<>“”‘’…*_`"


def word(text: str) -> str:
    """Return a word without the punctuation around it.

    A word of nothing but punctuation stays as it is, so that `( a )` and `a` differ.
    """
    return text.strip(PUNCTUATION) or text


class _WordHashes(dict[str, int]):
    """The hashes of the last words, at most 2**18; of most texts, nearly all words are among them."""

    def __missing__(self, text: str) -> int:
        if len(self) >= 1 << 18:
            self.clear()
        self[text] = int(xxhash.xxh3_64_intdigest(word(text).encode()))
        return self[text]


_hashes = _WordHashes()


class WordGrams:
    """The words of some texts, from which the hashes of their n-grams are computed.

    Two n-grams with the same words have the same hash in every run and on every machine.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        split = [text.casefold().split() for text in texts]
        self.counts = np.fromiter(map(len, split), np.int64, len(split))  # the number of words of each text
        every = map(_hashes.__getitem__, itertools.chain.from_iterable(split))
        self._hashes = np.fromiter(every, np.uint64, int(self.counts.sum()))

    def grams(self, size: int) -> tuple[Hashes, NDArray[np.int64]]:
        """Return the hashes of all runs of `size` words, and the index of the text of each.

        No run crosses the end of a text. A text of fewer words has none.
        """
        total = max(len(self._hashes) - size + 1, 0)
        mixed = np.zeros(total, np.uint64)
        for place in range(size):  # a polynomial in FACTOR, modulo 2**64
            mixed = mixed * FACTOR + self._hashes[place : place + total]
        mixed ^= mixed >> np.uint64(31)
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        inside = owner[:total] == owner[size - 1 : size - 1 + total]
        return mixed[inside], owner[:total][inside]

    def whole(self) -> Hashes:
        """Return one hash per text, of all its words."""
        ends = np.cumsum(self.counts)
        return np.array(
            [
                xxhash.xxh3_64_intdigest(self._hashes[end - count : end].tobytes())
                for end, count in zip(ends, self.counts, strict=True)
            ],
            dtype=np.uint64,
        )
