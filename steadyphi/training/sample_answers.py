"""What the model answers while it is trained."""

from collections.abc import Collection, Sequence

import torch

from steadyphi.data.packing import Example
from steadyphi.runtime import ranks
from steadyphi.training.parallel import Objective


@torch.no_grad()
def answers(
    objective: Objective, examples: Sequence[Example], eos: Collection[int], most: int
) -> list[list[int]]:
    """Return what the model says, always the likeliest token, to the examples' prompts.

    eos: the tokens that end an answer; most: tokens of an answer.
    The prompts grow side by side as packed documents and are read anew for every token: no cache, for a
    few short answers that every process of a run computes together.
    """
    model = objective.model
    texts = [e.tokens[: max(e.prompt, 1)] for e in examples]
    said: list[list[int]] = [[] for _ in texts]
    for _ in range(most):
        open_ = [
            n
            for n, s in enumerate(said)
            if (not s or s[-1] not in eos) and len(texts[n]) <= model.config.block_size
        ]
        if not open_:
            break
        tokens = torch.tensor([t for n in open_ for t in texts[n]], device=model.device)
        nexts = objective.next_tokens(tokens, [len(texts[n]) for n in open_]).tolist()
        nexts = ranks.gather(nexts)[0]  # all go on alike, even where two tokens are equally likely
        for n, token in zip(open_, nexts, strict=True):
            said[n].append(token)
            texts[n] = [*texts[n], token]
    return [[token for token in s if token not in eos] for s in said]
