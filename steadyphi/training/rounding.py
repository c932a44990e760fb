"""The weights of the layers rounded to the dtype of a step's matrix products, once a step."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from steadyphi.training.parallel import Objective


class RoundedWeights:
    """The rounded weights of one step of a single process, in which every weight is trained.

    Autocast would round them again in every micro-batch, which reads and writes six bytes for each weight.
    The copies are part of the graph, so gradients still add up in the weights' own dtype. The head is left
    as it is, because its gradient is computed in float32 (`steadyphi.training.loss`).
    """

    def __init__(self, objective: nn.Module) -> None:
        self.copies: list[tuple[nn.Linear, str, nn.Parameter, Tensor]] = []
        if not isinstance(objective, Objective) or objective.dtype == torch.float32 or _sharded(objective):
            return
        for block in objective.model.blocks():
            for module in block.modules():
                if type(module) is nn.Linear and module.weight.requires_grad:
                    for name, weight in module.named_parameters(recurse=False):
                        self.copies.append((module, name, weight, weight.to(objective.dtype)))

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Compute with the copies within this block, in the backward pass too."""
        for module, name, _, copy in self.copies:
            module._parameters[name] = copy  # type: ignore[assignment]
        try:
            yield
        finally:
            for module, name, weight, _ in self.copies:
                module._parameters[name] = weight


def _sharded(objective: nn.Module) -> bool:
    return hasattr(objective, "unshard")  # FSDP rounds the weights itself when it gathers them
