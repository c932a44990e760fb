"""QLoRA's base: its matrices in four bits (Dettmers et al. 2023, arXiv 2305.14314), by bitsandbytes.

NF4 with double quantization, as in the paper. Nothing heavy is imported above, for `compose` asks only
whether it can be done here.
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
    """Raise SteadyPhiError where this machine cannot train by `method`, with the reason in one line."""
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
    try:  # bitsandbytes has a library for each kind of machine, and looks for it when it is used
        layer = quantized(torch.nn.Linear(64, 64), torch.float32, device)
        layer(torch.ones(1, 64, device=device, requires_grad=True)).sum().backward()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SteadyPhiError(
            f"{FILE}: bitsandbytes cannot run on {device} here ({reason}); choose method: lora"
        ) from None


def quantize(model: "nn.Module", dtype: "torch.dtype", device: "torch.device") -> None:
    """Move a Phi to `device` with the Linears of its layers in four bits, one after the other.

    dtype: what their products are computed in. Head, embedding and norms stay as they are.
    """
    from torch import nn

    for parent in list(model.get_submodule("transformer.h").modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, quantized(child, dtype, device))
    model.to(device)


def quantized(linear: "nn.Linear", dtype: "torch.dtype", device: "torch.device") -> "nn.Linear":
    """Return a layer on `device` that computes in `dtype` what `linear` does, its weight in four bits."""
    import torch

    bnb = _bitsandbytes().nn
    with torch.device("meta"):
        layer = bnb.Linear4bit(linear.in_features, linear.out_features, compute_dtype=dtype)
    layer.weight = bnb.Params4bit(
        linear.weight.detach(), requires_grad=False, compress_statistics=True, quant_type="nf4", module=layer
    )
    layer.bias = torch.nn.Parameter(linear.bias.detach().to(dtype), requires_grad=False)
    layer.support_avx512bf16_for_cpu = False  # or each validation lays the weights out anew, and back
    made: nn.Linear = layer.to(device)  # here it is quantized
    return made


def product(layer: "nn.Linear", x: "Tensor") -> "Tensor":
    """Return x Wᵀ, without the bias, of a Linear in four bits or not."""
    from torch.nn import functional as F

    if not hasattr(layer.weight, "quant_state"):
        return F.linear(x, layer.weight)
    found: Tensor = _bitsandbytes().matmul_4bit(x, layer.weight, quant_state=layer.weight.quant_state)
    return found


def weight_of(layer: "nn.Linear") -> "Tensor":
    """Return the weight of a Linear as it computes with it, (out, in)."""
    if not hasattr(layer.weight, "quant_state"):
        return layer.weight.detach()
    weight: Tensor = _bitsandbytes().functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weight


@cache
def _bitsandbytes() -> Any:
    """Import the library, which on some CPUs would fetch code from the Hub with `kernels`, and run it."""
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns that it could not
    return import_module("bitsandbytes")
