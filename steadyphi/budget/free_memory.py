"""The machine's free memory and the dtype it computes in; torch is imported only if there may be a GPU."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")
GAPS = 0.08  # the fraction of a GPU's memory left free, because packed batches differ in size; not measured


@dataclass(frozen=True)
class FreeMemory:
    """The free bytes for each of a run's processes; `what` names the memory, such as "the GPU"."""

    free: int
    what: str
    gpu: bool

    @property
    def usable(self) -> int:
        """The bytes that a run may be planned to use; on a GPU, gaps in torch's allocator take the rest."""
        return int((1 - GAPS) * self.free) if self.gpu else self.free

    def __str__(self) -> str:
        size = f"{self.free / 1e9:.1f} GB" if self.free >= 1e9 else f"{self.free / 1e6:.1f} MB"
        return f"{self.what} has {size} free"


def likely_device() -> str:
    """Return the device that `steadyphi.runtime.device.pick_device` will return."""
    nvidia = Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi")
    if not (os.environ.get("STEADYPHI_DEVICE") or nvidia):
        return "cpu"
    if os.environ.get("STEADYPHI_DEVICE") == "cpu":
        return "cpu"
    from steadyphi.runtime.device import pick_device

    return str(pick_device())


def computed_in(precision: str, device: str) -> str:
    """Return "bfloat16" or "float32", as `steadyphi.runtime.device.pick_dtype` does."""
    if precision != "auto":
        return "bfloat16" if precision == "bfloat16" else "float32"
    if device == "cpu":
        return "bfloat16" if _flags() & {"amx_tile", "avx512_bf16"} else "float32"
    import torch

    from steadyphi.runtime.device import pick_dtype

    return str(pick_dtype(precision, torch.device(device))).removeprefix("torch.")


def _flags() -> set[str]:
    """Return the CPU's feature flags from /proc/cpuinfo."""
    if not CPUINFO.exists():
        return set()
    lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def free_memory(device: str, ranks: int) -> FreeMemory:
    """Return the memory for each of `ranks` processes on this machine: a GPU's, or an equal share of RAM."""
    if not device.startswith("cuda"):
        here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
        free = min([psutil.virtual_memory().available, *_left_to_container()]) // here
        return FreeMemory(free, "this machine" + (" for each" if here > 1 else ""), gpu=False)
    import torch

    index = torch.device(device).index
    gpus = range(min(ranks, torch.cuda.device_count())) if index is None else [index]
    free = min(torch.cuda.mem_get_info(gpu)[0] for gpu in gpus)
    return FreeMemory(free, "the GPU" if len(gpus) == 1 else "the fullest GPU", gpu=True)


def _left_to_container() -> list[int]:
    """Return the bytes left to a container with a cgroup v2 limit, as a list that is empty without one."""
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        lines = (CGROUP / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no cgroup v2 limit, or "max"
        return []
    stat = dict(line.split() for line in lines)
    return [limit - used + int(stat.get("inactive_file", 0))]  # page cache is freed when needed
