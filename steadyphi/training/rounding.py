"""The weights of the layers rounded to the dtype of a step's matrix products, once a step."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from steadyphi.training.parallel import Objective


class RoundedWeights:
    """The rounded weights of one step of a single process, in which every weight is trained.

    Autocast would round them again in every micro-batch, which reads and writes six bytes for each weight.
    The copies are part of the graph, so gradients still add up in the weights' own dtype. The head is left
    as it is, because its gradient is computed in float32 (`steadyphi.training.loss`).

    passes: the number of micro-batches. With one there is nothing to save, and nothing is done.
    """

    def __init__(self, objective: nn.Module, passes: int) -> None:
        self.copies: list[tuple[nn.Linear, str, nn.Parameter, Tensor]] = []
        if passes == 1 or not isinstance(objective, Objective) or isinstance(objective, FSDPModule):
            return  # FSDP rounds what it gathers
        if objective.dtype == torch.float32:
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
