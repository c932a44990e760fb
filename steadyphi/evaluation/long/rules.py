"""An instruction far from where it is to be followed: before much filler, after it, or on both sides.

The question itself is easy, its answer stands beside it, so what is measured is whether the instruction is
still followed. All rules are checked by program, as in IFEval (Zhou et al. 2023, arXiv 2311.07911).
A fourth place, "none", asks without the instruction: what a model does anyway is not following.
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
    """An instruction and its check, of a line and the right value: whether the line keeps the rule."""

    instruction: str
    kept: Callable[[str, str], bool]


def _words(line: str) -> list[str]:
    return re.findall(r"\w+", line.casefold())


# In brackets the instruction of IFEval that it is, where it is one. There and here only the form is checked,
# not the answer; here only of the first line, for a base model often goes on with a next question.
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
    found = []
    for n in range(count):
        rule = list(RULES)[n % len(RULES)]
        found += [_probe(writer, length, rule, position, f"rules {n}", seed) for position in POSITIONS]
    return found


def followed(rule: str, line: str, value: str) -> bool:
    """Return whether a line keeps a rule; `value` is the right answer. An empty line keeps none."""
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

    # A whole sentence and what the rules add to it.
    max_new_tokens = sum(writer.tokens([statement, value, '"surely"']))
    candidates = (Candidate(value, "right"),)
    budget = length - writer.room(candidates, max_new_tokens)
    prompt = writer.prompt(write(writer.fit(write, SENTENCES, budget, f"{seed} {name}")))
    return Probe("rules", position, name, length, None, prompt, candidates, max_new_tokens, rule)
