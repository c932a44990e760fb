"""Generate sample answers during training."""

from collections.abc import Collection, Sequence

import torch

from steadyphi.data.packing import Example
from steadyphi.runtime import ranks
from steadyphi.training.parallel import Objective


@torch.no_grad()
def answers(
    objective: Objective, examples: Sequence[Example], eos: Collection[int], most: int
) -> list[list[int]]:
    """Return the model's greedy answers (token ids) to the examples' prompts.

    `eos` holds the token ids that end an answer. `most` is the maximum number of tokens of an answer.
    The texts are packed documents, and the model reads them again for every new token. There is no
    cache, because the answers are few and short, and every process of a run computes them together.
    """
    model = objective.model
    texts = [e.tokens[: max(e.prompt, 1)] for e in examples]
    generated: list[list[int]] = [[] for _ in texts]
    for _ in range(most):
        open_ = [
            n
            for n, s in enumerate(generated)
            if (not s or s[-1] not in eos) and len(texts[n]) <= model.config.block_size
        ]
        if not open_:
            break
        tokens = torch.tensor([t for n in open_ for t in texts[n]], device=model.device)
        nexts = objective.next_tokens(tokens, [len(texts[n]) for n in open_]).tolist()
        nexts = ranks.gather(nexts)[0]  # the same in all processes, even if two tokens are equally likely
        for n, token in zip(open_, nexts, strict=True):
            generated[n].append(token)
            texts[n] = [*texts[n], token]
    return [[token for token in s if token not in eos] for s in generated]
