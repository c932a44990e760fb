"""How fast a run is and what memory it takes."""

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
    """Of one step: tokens and supervised tokens a second of all processes, and the highest memory so far.

    mfu: the share of the device's peak arithmetic that the model's own arithmetic is, None where the peak
    is unknown. memory: bytes, of the GPU, else of the process; of this process alone.
    """

    tokens_per_second: float
    supervised_per_second: float
    mfu: float | None
    memory: int


class Speedometer:
    """Measures steps."""

    def __init__(self, model: Phi, settings: Finetune, dtype: torch.dtype) -> None:
        self.config, self.method = model.config, settings.method
        self.device = model.device
        most = peak(self.device, dtype)
        self.peak = most * ranks.world_size() if most else None
        self.began = time.perf_counter()

    def start(self) -> None:
        """A step begins."""
        self.began = time.perf_counter()

    def stop(self, lengths: Sequence[int], supervised: int) -> Speed:
        """The step ended that learnt from documents of these lengths, in all processes."""
        seconds = time.perf_counter() - self.began
        work = flops_per_step(self.config, lengths, supervised, self.method)
        mfu = work / seconds / self.peak if self.peak else None
        return Speed(sum(lengths) / seconds, supervised / seconds, mfu, peak_memory(self.device))


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that were taken at one time: allocated on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
