"""Choose the device and dtype at run time, and make results reproducible."""

import os
import random

import torch

from steadyphi.errors import SteadyPhiError
from steadyphi.runtime.workers import queue_place


def pick_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU. `STEADYPHI_DEVICE` overrides."""
    name = os.environ.get("STEADYPHI_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # each process of a run uses its own GPU
        here, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        # Slurm's --gpus-per-task=1 shows each process only its own GPU. Torchrun shows all GPUs to all.
        if count == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
            here = 0
        if here >= count:
            raise SteadyPhiError(
                f"STEADYPHI_NPROC: process {here + 1} on this machine sees {count} GPUs; start one for each"
            )
        name = f"cuda:{here}"
    elif name == "cuda":  # workers of a queue take turns
        name = f"cuda:{queue_place()[0] % max(1, torch.cuda.device_count())}"
    try:
        torch.empty(0, device=name)
        if name.startswith("cuda:"):
            torch.cuda.set_device(torch.device(name))  # FSDP and NCCL use the current device, not a tensor's
    except (RuntimeError, AssertionError, NotImplementedError):
        raise SteadyPhiError(f"STEADYPHI_DEVICE: this machine has no device {name!r}; unset it") from None
    return torch.device(name)


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in; `auto` is bfloat16 if the hardware supports it natively, else float32.

    `portable` is float32 too (`steadyphi.runtime.portable`). float16 is never used, because Phi-2's attention
    scores overflow in it.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def make_repeatable(seed: int, threads: int | None, device: torch.device | None = None) -> None:
    """Seed every random generator; on a CPU (None), also make torch's operations deterministic.

    The number of CPU threads determines how sums are split. A run that must give the same bytes on any
    number of cores sets `threads`; with None torch uses all cores, or a worker of a queue its share.
    On a GPU the deterministic mode of torch would cost time and still not give equal bytes, because the
    backward pass of flash attention has no deterministic form in it.
    """
    random.seed(seed)
    torch.manual_seed(seed)
    workers = queue_place()[1]
    if threads is not None or workers > 1:
        torch.set_num_threads(threads or max(1, torch.get_num_threads() // workers))
    torch.use_deterministic_algorithms(device is None or device.type == "cpu", warn_only=True)
