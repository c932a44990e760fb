"""Assign examples to steps, and the examples of a step to processes and micro-batches."""

import itertools
import random
from collections.abc import Sequence

from steadyphi.data.packing import Example, pack
from steadyphi.settings.schema import Finetune


def plan_steps(examples: Sequence[Example], settings: Finetune) -> list[list[int]]:
    """Return the indices of the examples of every step; each epoch is shuffled differently.

    Epoch n takes the examples of rendering n; after the last rendering the first follows. The plan depends
    only on the examples and `settings`, so a resumed run continues with the same data, whatever its number
    of processes.
    """
    lengths = [len(example.tokens) for example in examples]
    renderings = [[i for i, e in enumerate(examples) if e.rendering == n] for n in range(count_of(examples))]
    steps: list[list[int]] = []
    for epoch in itertools.count() if settings.max_steps else range(settings.epochs):
        order = list(renderings[epoch % len(renderings)])
        random.Random(f"{settings.seed} {epoch}").shuffle(order)
        steps.extend(pack(lengths, settings.batch_tokens, order))
        if settings.max_steps and len(steps) >= settings.max_steps:
            break
    return steps[: settings.max_steps]


def efficiency(examples: Sequence[Example], settings: Finetune) -> float:
    """Return the mean number of tokens of a step, as a share of `settings.batch_tokens`.

    It is below 1 because no example is split: one that does not fit into a step begins the next.
    """
    steps = plan_steps(examples, settings)
    tokens = sum(len(examples[index].tokens) for step in steps for index in step)
    return tokens / (len(steps) * settings.batch_tokens)


def count_of(examples: Sequence[Example]) -> int:
    """Return the number of renderings of the examples."""
    return 1 + max(example.rendering for example in examples)


def share_out(
    lengths: Sequence[int], step: Sequence[int], micro_tokens: int, rank: int, world: int
) -> list[list[int]]:
    """Return the micro-batches of a step for process `rank` of `world`, as indices into `lengths`.

    Examples are assigned from the longest to the shortest, each to the process with the fewest tokens so
    far. All processes get the same number of micro-batches, because they synchronize after each; some may
    be empty.
    """
    if world == 1:
        return list(pack(lengths, micro_tokens, step))
    shares: list[list[int]] = [[] for _ in range(world)]
    loads = [0] * world
    for index in sorted(step, key=lambda i: -lengths[i]):
        least = loads.index(min(loads))
        shares[least].append(index)
        loads[least] += lengths[index]
    packed = [list(pack(lengths, micro_tokens, share)) for share in shares]
    mine = packed[rank]
    return mine + [[] for _ in range(max(map(len, packed)) - len(mine))]
