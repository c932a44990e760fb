"""Assign examples to steps, and the examples of a step to processes and micro-batches."""

import itertools
import random
from collections.abc import Sequence

from steadyphi.data.packing import Example, pack
from steadyphi.settings.schema import Finetune


def together(settings: Finetune) -> int:
    """Return how many renderings of a row a micro-batch holds together: two if they are compared."""
    return 2 if settings.consistency else 1


def plan_steps(examples: Sequence[Example], settings: Finetune) -> list[list[int]]:
    """Return the indices of the examples of every step; each epoch is shuffled differently.

    Epoch n takes the examples of rendering n; after the last rendering the first follows. If two renderings
    are compared, an epoch takes the next two, and those of a row follow each other. The plan depends only on
    the examples and `settings`, so a resumed run continues with the same data, whatever its number of
    processes.
    """
    size = together(settings)
    lengths = [len(example.tokens) for example in examples]
    renderings: list[list[int]] = [[] for _ in range(rendering_count(examples))]
    for n, example in enumerate(examples):
        renderings[example.rendering].append(n)
    steps: list[list[int]] = []
    for epoch in itertools.count() if settings.max_steps else range(settings.epochs):
        rows = list(
            zip(*(renderings[(epoch * size + n) % len(renderings)] for n in range(size)), strict=True)
        )
        random.Random(f"{settings.seed} {epoch}").shuffle(rows)
        groups = pack([sum(lengths[i] for i in row) for row in rows], settings.batch_tokens, range(len(rows)))
        steps.extend([i for row in group for i in rows[row]] for group in groups)
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


def rendering_count(examples: Sequence[Example]) -> int:
    """Return the number of renderings of the examples."""
    return 1 + max(example.rendering for example in examples)


def share_out(
    lengths: Sequence[int], step: Sequence[int], micro_tokens: int, rank: int, world: int, together: int = 1
) -> list[list[int]]:
    """Return the micro-batches of a step for process `rank` of `world`, as indices into `lengths`.

    together: the number of consecutive examples of the step that stay in one micro-batch.
    Examples are assigned from the longest to the shortest, each to the process with the fewest tokens so
    far. All processes get the same number of micro-batches, because they synchronize after each; some may
    be empty.
    """
    units = [step[n : n + together] for n in range(0, len(step), together)]
    sizes = [sum(lengths[i] for i in unit) for unit in units]
    shares: list[list[int]] = [[] for _ in range(world)]
    if world == 1:
        shares = [list(range(len(units)))]
    else:
        loads = [0] * world
        for unit in sorted(range(len(units)), key=lambda n: -sizes[n]):
            least = loads.index(min(loads))
            shares[least].append(unit)
            loads[least] += sizes[unit]
    packed = [list(pack(sizes, micro_tokens, share)) for share in shares]
    mine = [[i for unit in group for i in units[unit]] for group in packed[rank]]
    return mine + [[] for _ in range(max(map(len, packed)) - len(mine))]
