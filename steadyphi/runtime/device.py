"""Choose the device and dtype at run time, and make results reproducible."""

import os
import random

import torch

from steadyphi.errors import SteadyPhiError


def pick_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU. `STEADYPHI_DEVICE` overrides."""
    name = os.environ.get("STEADYPHI_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # each torchrun process uses its own GPU
        here, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if here >= count:
            raise SteadyPhiError(
                f"STEADYPHI_NPROC: process {here + 1} on this machine sees {count} GPUs; start one for each"
            )
        torch.cuda.set_device(here)  # FSDP and NCCL use the current device, not a tensor's
        name = f"cuda:{here}"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise SteadyPhiError(f"STEADYPHI_DEVICE: this machine has no device {name!r}; unset it") from None
    return torch.device(name)


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in; `auto` is bfloat16 if the hardware supports it natively, else float32.

    float16 is never used, because Phi-2's attention scores overflow in it.
    """
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def make_repeatable(seed: int, threads: int | None) -> None:
    """Seed every random generator and make torch's operations deterministic.

    The number of CPU threads determines how sums are split. A run that must give the same bytes on any
    number of cores sets `threads`; with None torch uses all cores.
    """
    random.seed(seed)
    torch.manual_seed(seed)
    if threads is not None:
        torch.set_num_threads(threads)
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires it
    torch.use_deterministic_algorithms(True, warn_only=True)
