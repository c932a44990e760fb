"""Weights laid out anew for the CPU, once, so that they are read at the full speed of the memory.

torch gives a product with one row to a routine that runs in one thread. oneDNN, on weights in blocks of its
own choosing, uses all of them: 1.6 to 2.2 times as fast for one row, and up to 4 times for 32.
"""

import torch
from torch import Tensor, nn

from steadyphi.model import Phi

SMALL = 300_000  # numbers; below, oneDNN's own start costs more than it saves


class PackedLinear(nn.Module):
    """A Linear for inference on a CPU whose weight oneDNN has laid out."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def pack(model: Phi) -> Phi:
    """Lay out the weights of a model on a CPU, one after the other; return it, for inference alone.

    Where torch has no oneDNN for this machine and number format, nothing is changed.
    """
    weight = model.lm_head.weight
    if weight.device.type != "cpu" or not available(weight.dtype):
        return model
    # No list of the Linears themselves: each weight has to go once it is laid out anew.
    for module in [module for module in model.modules() if not isinstance(module, nn.Linear)]:
        for name in [name for name, child in module.named_children() if isinstance(child, nn.Linear)]:
            child = getattr(module, name)
            if child.weight.numel() >= SMALL:
                setattr(module, name, PackedLinear(child))
            else:  # column by column is what that routine in one thread reads best
                child.weight.data = child.weight.data.t().contiguous().t()
    return model


def available(dtype: torch.dtype) -> bool:
    """Whether torch here has oneDNN with such a product in this number format."""
    ops = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not hasattr(ops, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and ops._is_mkldnn_bf16_supported())
