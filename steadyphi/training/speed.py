"""The speed and memory use of a run."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steadyphi.model import Phi
from steadyphi.runtime import ranks
from steadyphi.settings.schema import Finetune
from steadyphi.training.flops import flops_per_step, peak


@dataclass(frozen=True)
class Speed:
    """The speed of one step, summed over all processes, and the peak memory so far.

    `mfu` is the model's FLOP/s divided by the device's peak FLOP/s, or None if the peak is unknown.
    `memory` is in bytes, of the GPU if there is one, else of the process; it covers only this process.
    """

    tokens_per_second: float
    supervised_per_second: float
    mfu: float | None
    memory: int


class Speedometer:
    """Measure the speed of steps."""

    def __init__(self, model: Phi, settings: Finetune, dtype: torch.dtype) -> None:
        self.config, self.method = model.config, settings.method
        self.device = model.device
        most = peak(self.device, dtype)
        self.peak = most * ranks.world_size() if most else None
        self.began = time.perf_counter()

    def start(self) -> None:
        """Start the clock of a step."""
        self.began = time.perf_counter()

    def stop(self, lengths: Sequence[int], supervised: int) -> Speed:
        """Return the speed of the step that ends now.

        `lengths` and `supervised` are the document lengths and supervised tokens of all processes.
        """
        seconds = time.perf_counter() - self.began
        work = flops_per_step(self.config, lengths, supervised, self.method)
        mfu = work / seconds / self.peak if self.peak else None
        return Speed(sum(lengths) / seconds, supervised / seconds, mfu, peak_memory(self.device))


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: allocated on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
