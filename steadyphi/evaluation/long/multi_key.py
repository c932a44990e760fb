"""Two tasks: find one of several facts, and follow a chain of facts.

Both are based on tasks of RULER (Hsieh et al. 2024, arXiv 2404.06654). The first has needles with several
keys and asks for one of them (`niah_multikey_1` in RULER, four keys). The second is variable tracking. RULER
has one chain of assignments and asks for all variables with a value. Here there are two chains, and the
question is the value of the last variable of one, so that both tasks are answered with one of ten values.
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
VARIABLES = 3  # per chain: the first one is assigned the value, each other one the variable before it


def multi_key(writer: Writer, length: int, count: int, seed: int) -> list[Probe]:
    """Return `count` probes with four keys; the question asks for one of them. Raises DoesNotFit."""
    probes = []
    for n in range(count):
        name = f"multi-key {n}"
        rng = random.Random(f"{seed} {name}")
        keys = facts.draw_keys(rng, KEYS)
        values = facts.draw_values(rng, writer.answer_tokens(facts.VALUES))
        statements = [facts.fact(key, value) for key, value in zip(keys, values[:KEYS], strict=True)]
        rng.shuffle(statements)
        candidates = _candidates(values, KEYS)
        rng.shuffle(candidates)
        question = f"{facts.question(keys[0])} {SHORT}"
        probes.append(_probe(writer, "multi-key", name, length, statements, candidates, question, seed))
    return probes


def variables(writer: Writer, length: int, count: int, seed: int) -> list[Probe]:
    """Return `count` probes with two chains of variables; the question is the last variable of the first.

    All values are two-digit numbers. Raises DoesNotFit.
    """
    probes = []
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
        question = f"What is the value of {CHAINS[0]}{VARIABLES}? Answer with a number."
        probes.append(
            _probe(writer, "variable tracking", name, length, statements, candidates, question, seed)
        )
    return probes


def _candidates(values: Sequence[str], in_prompt: int) -> list[Candidate]:
    """Return candidates: the first value is right, the others in the prompt are slots, the rest is absent."""
    slots = [Candidate(value, "slot") for value in values[1:in_prompt]]
    return [Candidate(values[0], "right"), *slots, *(Candidate(v, "absent") for v in values[in_prompt:])]


def _probe(
    writer: Writer,
    task: Task,
    item: str,
    length: int,
    statements: Sequence[str],
    candidates: Sequence[Candidate],
    question: str,
    seed: int,
) -> Probe:
    """Return a probe: the statements, in order, at random depths of the filler, and then the question."""
    rng = random.Random(f"{seed} {item} depths")
    depths = sorted(rng.random() for _ in statements)
    placed = list(zip(depths, statements, strict=True))

    def write(sentences: list[str]) -> str:
        return f"{writer.passage(sentences, placed)}\n\n{question}"

    budget = length - writer.room(candidates, 0)
    sentences = writer.fit(write, SENTENCES, budget, f"{seed} {item}", least=len(statements) - 1)
    return Probe(task, "", item, length, None, writer.prompt(write(sentences)), tuple(candidates), 0)
