"""Duplicates: MinHash beside the exact Jaccard similarity of the same rows."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from steadyphi.data.duplicates import RUN, SIMILAR, Duplicates, estimate, minhash
from steadyphi.data.word_grams import WordGrams, word


def words(text: str) -> list[str]:
    return [word(part) for part in text.casefold().split()]


def runs(text: str) -> set[tuple[str, ...]]:
    split = words(text)
    return {tuple(split[n : n + RUN]) for n in range(len(split) - RUN + 1)} or {tuple(split)}


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Random texts, and each of them several times with more and more words replaced."""
    rng = random.Random(0)
    vocabulary = [f"w{n}" for n in range(2000)]
    base = [rng.choices(vocabulary, k=rng.randrange(40, 120)) for _ in range(60)]
    changed = [
        [w if rng.random() > rate else rng.choice(vocabulary) for w in text]
        for text in base
        for rate in (0.01, 0.02, 0.04, 0.08)
    ]
    return [" ".join(text) for text in [*base, *changed]]


def test_the_estimate_is_the_similarity(texts: list[str]) -> None:
    grams = WordGrams(texts)
    low = minhash(grams, grams.whole()).astype(np.uint8)
    pairs = [(n // 4, 60 + n) for n in range(240)] + [(n, n + 1) for n in range(50)]
    left, right = np.array(pairs).T
    exact = np.array([jaccard(runs(texts[a]), runs(texts[b])) for a, b in pairs])
    errors = estimate(low[left], low[right]) - exact
    expected = np.sqrt(exact * (1 - exact) / low.shape[1])  # of a mean of independent comparisons
    assert abs(errors.mean()) < 0.01
    assert np.sqrt((errors**2).mean()) == pytest.approx(np.sqrt((expected**2).mean()), rel=0.2)


def test_near_duplicates_are_those_above_the_limit(texts: list[str]) -> None:
    order = random.Random(1).sample(range(len(texts)), len(texts))
    shuffled = [texts[n] for n in order]
    duplicates = Duplicates()
    for start in range(0, len(shuffled), 100):
        duplicates.add(shuffled[start : start + 100])
    sets = [runs(text) for text in shuffled]
    best = np.array([max((jaccard(a, b) for a in sets[:n]), default=0.0) for n, b in enumerate(sets)])
    near, exact = np.zeros(len(sets), bool), np.zeros(len(sets), bool)
    near[duplicates.near()], exact[duplicates.exact()] = True, True
    assert (best == 1).sum() == exact.sum() > 0
    assert near[(best > SIMILAR + 0.1) & (best < 1)].mean() > 0.97
    assert near[best < SIMILAR - 0.1].mean() < 0.01
    assert not (near & exact).any()


def test_exact_duplicates_ignore_case_and_punctuation() -> None:
    duplicates = Duplicates()
    duplicates.add(["What is it?", "WHAT  is it", "What was it?"])
    duplicates.add(["(what is it)", "What was it?"])
    assert duplicates.exact().tolist() == [1, 3, 4] and duplicates.near().tolist() == []


def test_nothing_and_short_rows() -> None:
    duplicates = Duplicates()
    duplicates.add([])
    assert duplicates.exact().size == duplicates.near().size == 0
    duplicates.add(["a", "", "b c", "a b", ""])
    assert duplicates.exact().tolist() == [4] and duplicates.near().size == 0


def test_the_order_of_batches_does_not_matter(texts: list[str]) -> None:
    first, second = Duplicates(), Duplicates()
    first.add(texts)
    for text in texts:
        second.add([text])
    assert first.near().tolist() == second.near().tolist() != []


def test_grams_are_those_of_the_words() -> None:
    texts = ["a b c d", "", "b c d e", "x"]
    hashes, owner = WordGrams(texts).grams(3)
    assert owner.tolist() == [0, 0, 2, 2]
    assert hashes[1] == hashes[2] and len(set(hashes.tolist())) == 3


def test_real_rows_have_no_near_duplicates_until_they_are_changed(shared: Path) -> None:
    lines = (shared / "data" / "gsm8k" / "train.jsonl").read_text().splitlines()[:400]
    rows = [f"{r['question']}\n{r['answer']}" for r in map(json.loads, lines)]
    copies = [text.replace("How many", "How very many", 1) for text in rows[:50]]
    expected = [400 + n for n in range(50) if SIMILAR + 0.08 < jaccard(runs(rows[n]), runs(copies[n])) < 1]
    duplicates = Duplicates()
    duplicates.add(rows + copies)
    assert set(expected) <= set(duplicates.near().tolist()) and min(duplicates.near()) >= 400
