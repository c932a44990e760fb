"""Four-bit quantization of QLoRA's base (Dettmers et al. 2023, arXiv 2305.14314), by bitsandbytes.

The format is NF4 with double quantization, as in the paper. torch is imported inside the functions,
because the stage `compose` only checks whether this machine supports the method.
"""

import logging
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from steadyphi.errors import SteadyPhiError
from steadyphi.settings.schema import Full, Lora

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FILE = "conf/method/qlora.yaml"


def check_method(method: Lora | Full) -> None:
    """Raise SteadyPhiError, with the reason in one line, if this machine cannot train with `method`."""
    if method.name != "qlora":
        return
    if find_spec("bitsandbytes") is None:
        raise SteadyPhiError(
            f"{FILE}: needs bitsandbytes, which is not installed; "
            "run python -m pip install -e '.[qlora]', or choose method: lora"
        )
    import torch

    from steadyphi.runtime.device import pick_device

    device = pick_device()
    try:  # bitsandbytes loads the library for this kind of machine only on first use
        layer = quantized(torch.nn.Linear(64, 64), torch.float32, device)
        layer(torch.ones(1, 64, device=device, requires_grad=True)).sum().backward()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SteadyPhiError(
            f"{FILE}: bitsandbytes cannot run on {device} here ({reason}); choose method: lora"
        ) from None


def quantize(model: "nn.Module", dtype: "torch.dtype", device: "torch.device") -> None:
    """Move a Phi to `device` and quantize the linear layers of its blocks to four bits, one at a time.

    Their products are computed in `dtype`. The head, the embedding and the norms are not quantized.
    """
    from torch import nn

    for parent in list(model.get_submodule("transformer.h").modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, quantized(child, dtype, device))
    model.to(device)


def quantized(linear: "nn.Linear", dtype: "torch.dtype", device: "torch.device") -> "nn.Linear":
    """Return a four-bit copy of `linear` on `device` that computes in `dtype`."""
    import torch

    bnb = _bitsandbytes().nn
    with torch.device("meta"):
        layer = bnb.Linear4bit(linear.in_features, linear.out_features, compute_dtype=dtype)
    layer.weight = bnb.Params4bit(
        linear.weight.detach(), requires_grad=False, compress_statistics=True, quant_type="nf4", module=layer
    )
    layer.bias = torch.nn.Parameter(linear.bias.detach().to(dtype), requires_grad=False)
    layer.support_avx512bf16_for_cpu = False  # else each validation converts the weight layout and back
    layer_on_device: nn.Linear = layer.to(device)  # this call quantizes the weight
    return layer_on_device


def product(layer: "nn.Linear", x: "Tensor") -> "Tensor":
    """Return x Wᵀ, without the bias, for a linear layer that may be in four bits."""
    from torch.nn import functional as F

    if not hasattr(layer.weight, "quant_state"):
        return F.linear(x, layer.weight)
    y: Tensor = _bitsandbytes().matmul_4bit(x, layer.weight, quant_state=layer.weight.quant_state)
    return y


def weight_of(layer: "nn.Linear") -> "Tensor":
    """Return the weight that a linear layer computes with, dequantized if in four bits, (out, in)."""
    if not hasattr(layer.weight, "quant_state"):
        return layer.weight.detach()
    weight: Tensor = _bitsandbytes().functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weight


@cache
def _bitsandbytes() -> Any:
    """Import bitsandbytes with `kernels` blocked.

    On some CPUs bitsandbytes would otherwise use `kernels` to download code from the Hub and run it.
    """
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # else it warns that `kernels` is missing
    return import_module("bitsandbytes")
