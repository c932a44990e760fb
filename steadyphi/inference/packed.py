"""Weights packed once for the CPU, in oneDNN's own layout, so that they are read at full memory bandwidth.

torch computes a product with one row in a routine with a single thread. oneDNN, with weights in blocks of its
own layout, uses all threads: it is 1.6 to 2.2 times as fast for one row, and up to 4 times for 32 rows. For
many rows it is twice as fast in float32 as the routine that torch calls instead. GELU costs nothing, because
it is applied before the product is written to memory.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from steadyphi.model import MLP, Phi

# In a float32 weight of fewer numbers, with one row, oneDNN's overhead is more than it saves. In bfloat16,
# torch's own routine takes 1.4 to 1.8 times as long from 65,000 numbers on.
SMALL = {torch.float32: 300_000, torch.bfloat16: 0}


class PackedLinear(nn.Module):
    """A Linear for inference on a CPU with its weight in oneDNN's layout; `gelu`: followed by Phi's GELU."""

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.register_buffer("bias", linear.bias.detach())
        self.after = ("gelu", "tanh") if gelu else ("none", "")

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.after[0], [], self.after[1])


def pack(model: Phi, least: int | None = None) -> Phi:
    """Pack the weights of a model on a CPU, one after the other, and return the model, for inference only.

    least: weights with fewer numbers are not packed; use 0 if many tokens are read at once.
    Nothing changes on another device, or if torch has no oneDNN for this machine and dtype.
    """
    weight = model.lm_head.weight
    if weight.device.type != "cpu" or not available(weight.dtype):
        return model
    if least is None:
        least = SMALL[weight.dtype]
    # There is no list of the Linears, because it would keep the original weights in memory.
    for module in [module for module in model.modules() if not isinstance(module, nn.Linear)]:
        for name in [name for name, child in module.named_children() if isinstance(child, nn.Linear)]:
            child = getattr(module, name)
            if child.weight.numel() >= least:
                setattr(module, name, PackedLinear(child, gelu=isinstance(module, MLP) and name == "fc"))
            else:  # column-major weights are fastest in torch's single-threaded routine
                child.weight.data = child.weight.data.t().contiguous().t()
    for module in model.modules():
        for name in [name for name, child in module.named_children() if isinstance(child, MLP)]:
            mlp = getattr(module, name)
            if isinstance(mlp.fc, PackedLinear):  # which applies the GELU
                setattr(module, name, nn.Sequential(OrderedDict(fc=mlp.fc, proj=mlp.proj)))
    return model


def available(dtype: torch.dtype) -> bool:
    """Return whether this installation of torch has oneDNN's fused Linear for a dtype."""
    ops = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not hasattr(ops, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and ops._is_mkldnn_bf16_supported())
