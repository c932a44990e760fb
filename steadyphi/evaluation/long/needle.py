"""Needle in a haystack: a fact hidden in a long text, at several depths.

The task is that of Kamradt 2023 (github.com/gkamradt/LLMTest_NeedleInAHaystack), asked as in Liu et al. 2023
(Lost in the Middle, arXiv 2307.03172), at several depths of contexts of several lengths. Two sentences are
added, so that a wrong answer also shows its cause: one gives another key another value, and one names a value
only to say that it is wrong.
"""

import functools
import random
from collections.abc import Sequence

from steadyphi.evaluation.long import facts
from steadyphi.evaluation.long.filler import SENTENCES
from steadyphi.evaluation.long.probe import Candidate, Probe
from steadyphi.evaluation.long.writer import Writer

SHORT = "Answer with one word."


def probes(writer: Writer, length: int, depths: Sequence[float], count: int, seed: int) -> list[Probe]:
    """Return `count` facts, each at every depth; fact and filler are the same at all depths.

    By rank, a model that has read nothing is right one time in ten. A model that only knows which values are
    in the prompt is right one time in three.
    Raises DoesNotFit if the filler would have too few sentences to distinguish the depths.
    """
    return [probe for n in range(count) for probe in _at_depths(writer, length, depths, f"needle {n}", seed)]


def _at_depths(writer: Writer, length: int, depths: Sequence[float], name: str, seed: int) -> list[Probe]:
    rng = random.Random(f"{seed} {name}")
    key, other_key = facts.draw_keys(rng, 2)
    right, slot, guess, *absent = facts.draw_values(rng, writer.answer_tokens(facts.VALUES))
    # Strictly inside the filler, so that only the needle can be first or last.
    others = [
        (rng.uniform(0.05, 0.95), facts.fact(other_key, slot)),
        (
            rng.uniform(0.05, 0.95),
            f"Somebody guessed that the password of the {key} is {guess}, but it is not.",
        ),
    ]
    candidates = [Candidate(right, "right"), Candidate(slot, "slot"), Candidate(guess, "distractor")]
    candidates += [Candidate(value, "absent") for value in absent]
    rng.shuffle(candidates)
    needle = facts.fact(key, right)

    def question(depth: float, sentences: list[str]) -> str:
        passage = writer.passage(sentences, [(depth, needle), *others])
        return f"{passage}\n\n{facts.question(key)} {SHORT}"

    (max_new_tokens,) = writer.tokens([needle])  # enough to answer in a whole sentence
    budget = length - writer.room(candidates, max_new_tokens)
    at_depths = []
    for depth in depths:
        write = functools.partial(question, depth)
        least = max(1, len(depths) - 1)
        prompt = writer.prompt(write(writer.fit(write, SENTENCES, budget, f"{seed} {name}", least)))
        at_depths.append(Probe("needle", "", name, length, depth, prompt, tuple(candidates), max_new_tokens))
    return at_depths
