"""An instruction far from the question that it applies to: before a long filler, after it, or both.

The question itself is easy, because its answer is directly before it. So the result measures whether the
instruction is still followed. All rules are checked by a program, as in IFEval (Zhou et al. 2023,
arXiv 2311.07911). A fourth position, "none", asks without the instruction, as a baseline: what a model does
without the instruction does not count as following it.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from steadyphi.evaluation.long import facts
from steadyphi.evaluation.long.filler import SENTENCES
from steadyphi.evaluation.long.probe import Candidate, Probe
from steadyphi.evaluation.long.writer import Writer

POSITIONS = ("none", "before", "after", "around")


@dataclass(frozen=True)
class Rule:
    """An instruction, and the check of a line and the right value: whether the line follows the rule."""

    instruction: str
    kept: Callable[[str, str], bool]


def _words(line: str) -> list[str]:
    return re.findall(r"\w+", line.casefold())


# In brackets: the corresponding instruction of IFEval, if there is one. Both check only the form and not the
# answer. Here only the first line is checked, because a base model often continues with another question.
RULES: Mapping[str, Rule] = {
    # [change_case: all uppercase]
    "capitals": Rule("Write your answer in capital letters.", lambda line, value: line.isupper()),
    # [startend: quotation]
    "quotes": Rule(
        "Put your answer in double quotation marks.",
        lambda line, value: len(line) > 1 and line[0] == '"' and line[-1] == '"',
    ),
    # [startend: end checker]
    "full stop": Rule("End your answer with a full stop.", lambda line, value: line.endswith(".")),
    "end": Rule(
        'End your answer with the word "indeed".', lambda line, value: _words(line)[-1:] == ["indeed"]
    ),
    "start": Rule(
        'Start your answer with the word "surely".', lambda line, value: _words(line)[:1] == ["surely"]
    ),
    # [length constraints: number of words]
    "one word": Rule("Answer with one word.", lambda line, value: len(_words(line)) == 1),
    # [keywords: frequency]
    "twice": Rule("Write the answer twice.", lambda line, value: _words(line).count(value.casefold()) == 2),
}


def probes(writer: Writer, length: int, count: int, seed: int) -> list[Probe]:
    """Return `count` questions in each of `POSITIONS`, with the rules in turn. Raises DoesNotFit."""
    all_probes = []
    for n in range(count):
        rule = list(RULES)[n % len(RULES)]
        all_probes += [_probe(writer, length, rule, position, f"rules {n}", seed) for position in POSITIONS]
    return all_probes


def followed(rule: str, line: str, value: str) -> bool:
    """Return whether a line follows a rule; `value` is the right answer. An empty line follows none."""
    return RULES[rule].kept(line, value)


def _probe(writer: Writer, length: int, rule: str, position: str, name: str, seed: int) -> Probe:
    rng = random.Random(f"{seed} {name}")
    (key,) = facts.draw_keys(rng, 1)
    value = facts.draw_values(rng, writer.answer_tokens(facts.VALUES))[0]
    statement = facts.fact(key, value)
    first = RULES[rule].instruction if position in ("before", "around") else ""
    last = RULES[rule].instruction if position in ("after", "around") else ""

    def write(sentences: list[str]) -> str:
        parts = (first, " ".join(sentences), last, f"{statement} {facts.question(key)}")
        return "\n\n".join(part for part in parts if part)

    # Enough for a whole sentence and the text that a rule adds.
    max_new_tokens = sum(writer.tokens([statement, value, '"surely"']))
    candidates = (Candidate(value, "right"),)
    budget = length - writer.room(candidates, max_new_tokens)
    prompt = writer.prompt(write(writer.fit(write, SENTENCES, budget, f"{seed} {name}")))
    return Probe("rules", position, name, length, None, prompt, candidates, max_new_tokens, rule)
