"""All the long prompts of an evaluation."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from steadyphi.errors import SteadyPhiError
from steadyphi.evaluation.long import multi_key, needle, padding, rules
from steadyphi.evaluation.long.probe import Probe
from steadyphi.evaluation.long.writer import DoesNotFit, Writer
from steadyphi.prompts.formats import Format
from steadyphi.prompts.item import Item
from steadyphi.tokenizer import TextTokenizer


class Probes(NamedTuple):
    """The probes, and one line for each length that is not among them, with the reason."""

    probes: list[Probe]
    left_out: list[str]


def probes(
    tokenizer: TextTokenizer,
    items: Sequence[Item],
    format_: Format,
    lengths: Sequence[int],
    depths: Sequence[float],
    count: int,
    context: int,
    seed: int,
) -> Probes:
    """Return the probes of all tasks at all lengths.

    items: to be padded; all other tasks make their own questions.
    lengths: tokens that prompt and answer may have together (as in RULER, Hsieh et al. 2024,
    arXiv 2404.06654); a prompt is as long as whole sentences of filler make it, and never longer.
    depths: of the needle, between 0 and 1. count: questions of each task in each cell of the result.
    context: tokens that the model can read.
    A length above the context is left out, and so is one that is too short for a task, of that task.
    Raises SteadyPhiError for a depth outside 0 to 1 and a count below 1.
    """
    _check(depths, count)
    writer = Writer(tokenizer, format_)
    usable = [length for length in sorted(set(lengths)) if length <= context]
    padded, padded_lengths = padding.choose(writer, items, usable, count, seed)
    tasks: dict[str, Callable[[int], list[Probe]]] = {
        "needle": lambda length: needle.probes(writer, length, sorted(set(depths)), count, seed),
        "rules": lambda length: rules.probes(writer, length, count, seed),
        "multi-key": lambda length: multi_key.multi_key(writer, length, count, seed),
        "variable tracking": lambda length: multi_key.variables(writer, length, count, seed),
    }
    made = padding.bare(writer, padded)
    left_out = [
        f"{length} tokens: more than the model's context of {context}"
        for length in sorted(set(lengths) - set(usable))
    ]
    for length in usable:
        if length in padded_lengths:
            made += padding.probes(writer, length, padded, seed)
        else:
            left_out.append(f"{length} tokens, padding: too few of the items can be padded to that")
        for task, make in tasks.items():
            try:
                made += make(length)
            except DoesNotFit as error:
                left_out.append(f"{length} tokens, {task}: {error}")
    return Probes(made, left_out)


def _check(depths: Sequence[float], count: int) -> None:
    for depth in depths:
        if not 0 <= depth <= 1:
            raise SteadyPhiError(f"long prompts: depth {depth} is not between 0 and 1; correct depths")
    if not depths or count < 1:
        raise SteadyPhiError(f"long prompts: {len(depths)} depths and count {count}; both must be 1 or more")
