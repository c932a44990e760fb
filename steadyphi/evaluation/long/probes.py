"""All long prompts of an evaluation."""

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
    """The probes, and one line with the reason for each length that is left out."""

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

    items: the items to pad. All other tasks generate their own questions.
    lengths: the most tokens of prompt and answer together (as in RULER, Hsieh et al. 2024,
    arXiv 2404.06654). A prompt has as many whole sentences of filler as fit.
    depths: of the needle, from 0 to 1. count: questions of each task in each cell of the result.
    context: the most tokens that the model can read.
    A length above the context is left out. A length that is too short for a task is left out of that task.
    Raises SteadyPhiError for a depth outside 0 to 1, without any depth, and for a count below 1.
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
    all_probes = padding.bare(writer, padded)
    left_out = [
        f"{length} tokens: more than the model's context of {context}"
        for length in sorted(set(lengths) - set(usable))
    ]
    for length in usable:
        if length in padded_lengths:
            all_probes += padding.probes(writer, length, padded, seed)
        else:
            left_out.append(f"{length} tokens, padding: too few items can be padded to this length")
        for task, make in tasks.items():
            try:
                all_probes += make(length)
            except DoesNotFit as error:
                left_out.append(f"{length} tokens, {task}: {error}")
    return Probes(all_probes, left_out)


def _check(depths: Sequence[float], count: int) -> None:
    for depth in depths:
        if not 0 <= depth <= 1:
            raise SteadyPhiError(f"long prompts: depths: should be from 0 to 1, not {depth}")
    if not depths or count < 1:
        raise SteadyPhiError(
            f"long prompts: {len(depths)} depths and count {count}; both should be 1 or more"
        )
