"""One of several facts, and facts that follow from others.

After two tasks of RULER (Hsieh et al. 2024, arXiv 2404.06654): needles with several keys, one of them asked
for (there `niah_multikey_1`, four keys), and variable tracking (there one chain of assignments and all the
variables of a value asked for; here two chains, and the value of a last variable, so that both tasks are
answered with one of ten values).
"""

import random
from collections.abc import Sequence

from steadyphi.evaluation.long import facts
from steadyphi.evaluation.long.filler import SENTENCES
from steadyphi.evaluation.long.needle import SHORT
from steadyphi.evaluation.long.probe import Candidate, Probe, Task
from steadyphi.evaluation.long.writer import Writer

KEYS = 4
CHAINS = ("X", "Y")
VARIABLES = 3  # in a chain: the first has the value, each other has the one's before it


def multi_key(writer: Writer, length: int, count: int, seed: int) -> list[Probe]:
    """Return `count` texts with four keys, one asked for. Raises DoesNotFit."""
    found = []
    for n in range(count):
        name = f"multi-key {n}"
        rng = random.Random(f"{seed} {name}")
        keys = facts.draw_keys(rng, KEYS)
        values = facts.draw_values(rng, writer.answer_tokens(facts.VALUES))
        statements = [facts.fact(key, value) for key, value in zip(keys, values[:KEYS], strict=True)]
        rng.shuffle(statements)
        candidates = _candidates(values, KEYS)
        rng.shuffle(candidates)
        asked = f"{facts.question(keys[0])} {SHORT}"
        found.append(_probe(writer, "multi-key", name, length, statements, candidates, asked, seed))
    return found


def variables(writer: Writer, length: int, count: int, seed: int) -> list[Probe]:
    """Return `count` texts with two chains of variables; the last of the first is asked for.

    All values are numbers of two digits. Raises DoesNotFit.
    """
    found = []
    for n in range(count):
        name = f"variable tracking {n}"
        rng = random.Random(f"{seed} {name}")
        values = [str(value) for value in rng.sample(range(10, 100), facts.CANDIDATES)]
        chains = [
            [f"{chain}1 = {value}."] + [f"{chain}{v + 1} = {chain}{v}." for v in range(1, VARIABLES)]
            for chain, value in zip(CHAINS, values, strict=False)
        ]
        turns = [0] * VARIABLES + [1] * VARIABLES
        rng.shuffle(turns)
        rest = [iter(chain) for chain in chains]
        statements = [next(rest[turn]) for turn in turns]  # in order within a chain
        candidates = _candidates(values, len(CHAINS))
        rng.shuffle(candidates)
        asked = f"What is the value of {CHAINS[0]}{VARIABLES}? Answer with a number."
        found.append(_probe(writer, "variable tracking", name, length, statements, candidates, asked, seed))
    return found


def _candidates(values: Sequence[str], in_prompt: int) -> list[Candidate]:
    """Return the first value as the right one, the others in the prompt as slots, the rest as absent."""
    slots = [Candidate(value, "slot") for value in values[1:in_prompt]]
    return [Candidate(values[0], "right"), *slots, *(Candidate(v, "absent") for v in values[in_prompt:])]


def _probe(
    writer: Writer,
    task: Task,
    item: str,
    length: int,
    statements: Sequence[str],
    candidates: Sequence[Candidate],
    asked: str,
    seed: int,
) -> Probe:
    """Return the statements, in order, at random depths of a filler, and the question after it."""
    rng = random.Random(f"{seed} {item} depths")
    depths = sorted(rng.random() for _ in statements)
    placed = list(zip(depths, statements, strict=True))

    def write(sentences: list[str]) -> str:
        return f"{writer.passage(sentences, placed)}\n\n{asked}"

    budget = length - writer.room(candidates, 0)
    sentences = writer.fit(write, SENTENCES, budget, f"{seed} {item}", least=len(statements) - 1)
    return Probe(task, "", item, length, None, writer.prompt(write(sentences)), tuple(candidates), 0)
