"""Exact and near duplicates among rows.

Two rows are near duplicates if the Jaccard similarity of their sets of 5-word runs is at least 0.8. It is
estimated by MinHash (Broder, On the resemblance and containment of documents, 1997), and the pairs to compare
are found by banding (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4). Of each hash
only 8 bits are kept (Li and König, b-Bit Minwise Hashing, 2010), so a row takes 208 bytes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steadyphi.data.word_grams import FACTOR, Hashes, WordGrams

RUN = 5  # words; a shorter text is a single run
BANDS, ROWS = 20, 6  # of two rows with similarity 0.8, 99.8% share a band; with 0.5, 27%
SIMILAR = 0.8
_random = np.random.default_rng(1)
_factors = _random.integers(0, 1 << 31, BANDS * ROWS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_terms = _random.integers(0, 1 << 32, BANDS * ROWS, dtype=np.uint32)


class Duplicates:
    """Collects the signatures of rows, and finds those that are like an earlier row."""

    def __init__(self) -> None:
        self._whole: list[Hashes] = []
        self._low: list[NDArray[np.uint8]] = []
        self._bands: list[NDArray[np.uint32]] = []

    def add(self, texts: Sequence[str]) -> None:
        """Add rows, each as one text."""
        if not texts:
            return
        grams = WordGrams(texts)
        whole = grams.whole()
        signatures = minhash(grams, whole)
        self._whole.append(whole)
        self._low.append(signatures.astype(np.uint8))
        banded = signatures.reshape(len(texts), BANDS, ROWS)
        keys = np.zeros(banded.shape[:2], np.uint64)
        for place in range(ROWS):
            keys = keys * FACTOR + banded[:, :, place]
        self._bands.append((keys >> np.uint64(32)).astype(np.uint32))

    def exact(self) -> NDArray[np.int64]:
        """Return the indices of the rows whose words are those of an earlier row, in order."""
        if not self._whole:
            return np.zeros(0, np.int64)
        whole = np.concatenate(self._whole)
        _, first = np.unique(whole, return_index=True)
        return np.setdiff1d(np.arange(len(whole)), first)

    def near(self) -> NDArray[np.int64]:
        """Return the indices of the rows that are near duplicates of an earlier row, exact ones left out.

        In each band a row is compared with the first row that has the same key and with the row before it, so
        the time is linear. In large groups of similar rows, a few near duplicates are therefore missed.
        """
        if not self._whole:
            return np.zeros(0, np.int64)
        low, bands = np.concatenate(self._low), np.concatenate(self._bands)
        kept = np.setdiff1d(np.arange(len(low)), self.exact())
        like = np.zeros(len(low), bool)
        for keys in bands[kept].T:
            order = kept[np.argsort(keys, kind="stable")]
            ordered = np.sort(keys, kind="stable")
            fresh = np.append(True, ordered[1:] != ordered[:-1])
            first = order[np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))]
            for other in (first, np.roll(order, 1)):
                pairs = np.flatnonzero(~fresh & ~like[order])
                left, right = order[pairs], other[pairs]
                like[left[estimate(low[left], low[right]) >= SIMILAR]] = True
        return np.flatnonzero(like)


def minhash(grams: WordGrams, whole: Hashes) -> NDArray[np.uint32]:
    """Return the signatures, (texts, BANDS * ROWS): the minimum of each hash function over a text's runs.

    whole: one hash per text, which stands for the runs of a text of fewer than `RUN` words.
    """
    hashes, owner = grams.grams(RUN)
    short = np.flatnonzero(grams.counts < RUN)
    hashes, owner = np.append(hashes, whole[short]), np.append(owner, short)
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(len(grams.counts)))
    values = (hashes[order] >> np.uint64(32)).astype(np.uint32)
    columns = [
        np.minimum.reduceat(values * factor + term, starts)
        for factor, term in zip(_factors, _terms, strict=True)
    ]
    return np.stack(columns, axis=1)


def estimate(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the estimated similarity of pairs of signatures, (pairs, BANDS * ROWS), from their low 8 bits.

    Two different hashes agree in 8 bits with probability 1/256.
    """
    same = (left == right).mean(axis=1)
    return np.asarray((same - 1 / 256) / (1 - 1 / 256))
