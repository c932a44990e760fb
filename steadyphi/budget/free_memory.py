"""What memory the machine has free, and what it computes in; torch is imported only where a GPU may be."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Room:
    """Bytes that are free for each of a run's processes, and what has them, such as "the GPU"."""

    free: int
    what: str
    gpu: bool

    def __str__(self) -> str:
        size = f"{self.free / 1e9:.1f} GB" if self.free >= 1e9 else f"{self.free / 1e6:.1f} MB"
        return f"{self.what} has {size} free"


def likely_device() -> str:
    """Return the device that `steadyphi.runtime.device.pick_device` will take."""
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
        return precision
    if device == "cpu":
        return "bfloat16" if _flags() & {"amx_tile", "avx512_bf16"} else "float32"
    import torch

    from steadyphi.runtime.device import pick_dtype

    return str(pick_dtype(precision, torch.device(device))).removeprefix("torch.")


def _flags() -> set[str]:
    """Return what the CPU can do, in Linux's words."""
    if not CPUINFO.exists():
        return set()
    lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def free_memory(device: str, ranks: int) -> Room:
    """Return what each of `ranks` processes on this machine may take: a GPU's memory, or a share of RAM."""
    if not device.startswith("cuda"):
        here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
        free = min([psutil.virtual_memory().available, *_left_to_container()]) // here
        return Room(free, "this machine" + (" for each" if here > 1 else ""), gpu=False)
    import torch

    index = torch.device(device).index
    gpus = range(min(ranks, torch.cuda.device_count())) if index is None else [index]
    free = min(torch.cuda.mem_get_info(gpu)[0] for gpu in gpus)
    return Room(free, "the GPU" if len(gpus) == 1 else "the fullest GPU", gpu=True)


def _left_to_container() -> list[int]:
    """Return the bytes that a container may still take, where its limit is one of cgroup v2's."""
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        lines = (CGROUP / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # none, or "max"
        return []
    stat = dict(line.split() for line in lines)
    return [limit - used + int(stat.get("inactive_file", 0))]  # files' pages are given back when needed
