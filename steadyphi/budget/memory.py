"""Check before a fine-tuning run whether it fits in memory, and suggest changes if it does not."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from steadyphi.budget.footprint import Footprint, Step, adapter_parameters, footprint
from steadyphi.budget.free_memory import FreeMemory, computed_in, free_memory, likely_device
from steadyphi.errors import SteadyPhiError
from steadyphi.model_config import PhiConfig
from steadyphi.settings.defaults import lora_settings
from steadyphi.settings.groups import Lora
from steadyphi.settings.schema import Finetune

SKIP = "STEADYPHI_SKIP_MEMORY_CHECK"
LEAST_TOKENS = 128  # smaller micro-batches are not worth a suggestion
MOST_GPUS = 8  # in one machine
LESS = 0.8  # after a run has run out of memory: the fraction of its estimate that a suggestion may need


@dataclass(frozen=True)
class Estimate:
    """The peak memory of a run in each process.

    dtype: the dtype of matrix products, "bfloat16" or "float32".
    ranks: the number of processes.
    machines: the number of machines, each of which holds all weights; 1 if each has only one process.
    longest: the number of tokens of the longest document, 0 if it is not known yet.
    gpu: whether the run is on a GPU; if not, it is on a CPU.
    """

    config: PhiConfig
    settings: Finetune
    dtype: str
    ranks: int = 1
    longest: int = 0
    gpu: bool = True
    machines: int = 1

    @cached_property
    def parts(self) -> Footprint:
        """The bytes of each part."""
        return footprint(self.config, self._step())

    @property
    def total(self) -> int:
        """The bytes of all parts."""
        return self.parts.total

    def _step(self) -> Step:
        settings, method = self.settings, self.settings.method
        lora = method if isinstance(method, Lora) else None
        share = -(-settings.batch_tokens // self.ranks)  # tokens of a step for one process
        return Step(
            dtype=self.dtype,
            tokens=max(min(settings.micro_tokens, share), self.longest),
            lora=lora,
            added=adapter_parameters(self.config, lora.r, lora.targets, lora.dora) if lora else 0,
            dropout=settings.dropout,
            checkpointing=settings.checkpointing,
            ranks=self.ranks // self.machines,
            gpu=self.gpu,
        )

    def __str__(self) -> str:
        needs = self.parts
        unit, name = (1e9, "GB") if self.total >= 1e9 else (1e6, "MB")
        parts = (
            f"weights {needs.weights / unit:.1f}, gradients {needs.gradients / unit:.1f}, "
            f"optimizer {needs.optimizer / unit:.1f}, activations {needs.activations / unit:.1f}"
        )
        each = f" in each of {self.ranks} processes" if self.ranks > 1 else ""
        return f"finetune needs about {self.total / unit:.1f} {name}{each} ({parts})"


def check(
    config: PhiConfig,
    settings: Finetune,
    device: str | None = None,
    ranks: int = 1,
    longest: int = 0,
    machines: int = 1,
) -> tuple[Estimate, FreeMemory]:
    """Print the memory that a run needs and the free memory to stderr, and return both.

    `device` is torch's name of the device, or None for the one that this machine would use. `ranks`,
    `longest` and `machines` are as in `Estimate`.
    Raises SteadyPhiError if the run cannot fit. With `STEADYPHI_SKIP_MEMORY_CHECK` it prints a warning
    instead.
    """
    device = device or likely_device()
    available = free_memory(device, ranks)
    estimate = Estimate(
        config, settings, computed_in(settings.precision, device), ranks, longest, available.gpu, machines
    )
    refused = refusal(estimate, available)
    if refused and os.environ.get(SKIP, "0") in ("", "0"):
        raise SteadyPhiError(f"{refused}; {SKIP}=1 starts it anyway")
    if os.environ.get("RANK", "0") == "0":
        text = f"warning: {refused}" if refused else f"{estimate}; {available}"
        print(text, file=sys.stderr, flush=True)
    return estimate, available


def refusal(estimate: Estimate, available: FreeMemory) -> str | None:
    """Return the message for a run that cannot fit, with changes that would make it fit; None if it fits."""
    if estimate.total <= available.usable:
        return None
    return f"{estimate}; {available}; {_listed(remedies(estimate, available.usable), available)}"


def out_of_memory(estimate: Estimate, available: FreeMemory) -> SteadyPhiError:
    """Return the error for a run that ran out of memory although the estimate fitted.

    The run took more than estimated, so a change is suggested only if its estimate is a fifth below that of
    this run.
    """
    changes = _listed(remedies(estimate, min(available.usable, int(LESS * estimate.total))), available)
    return SteadyPhiError(f"out of memory: {estimate}; {available}; {changes}")


@contextmanager
def explained(estimate: Estimate, available: FreeMemory) -> Iterator[None]:
    """Raise an error that suggests changes if memory runs out within the block."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise out_of_memory(estimate, available) from None
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):  # torch has no error class for the CPU
            raise
        raise out_of_memory(estimate, available) from None


def remedies(estimate: Estimate, free: int) -> Iterator[str]:
    """Yield the changes with which the estimate fits into `free` bytes, the smallest change first."""
    settings, gpu = estimate.settings, estimate.gpu
    if tokens := _micro_tokens(estimate, free):
        yield f"finetune.micro_tokens: {tokens}"
    if not settings.checkpointing:
        fewer = replace(estimate, settings=replace(settings, checkpointing=True))
        yield from _change("finetune.checkpointing: true", fewer, free)
    for name in ("lora", "qlora"):
        method = lora_settings(name)
        worth = settings.method.name == "full" or (settings.method.name, name) == ("lora", "qlora")
        if isinstance(method, Lora) and worth and (gpu or name == "lora"):
            yield from _change(
                f"method: {name}", replace(estimate, settings=replace(settings, method=method)), free
            )
    for ranks in range(estimate.ranks + 1, MOST_GPUS + 1) if gpu and settings.method.name == "full" else ():
        if replace(estimate, ranks=ranks).total <= free:
            yield f"{ranks} such GPUs (STEADYPHI_NPROC={ranks})"
            return


def _change(name: str, estimate: Estimate, free: int) -> Iterator[str]:
    """Yield the change `name` if `estimate` fits into `free` bytes, with fewer tokens at once if needed."""
    if estimate.total <= free:
        yield name
    elif tokens := _micro_tokens(estimate, free):
        yield f"{name} with finetune.micro_tokens: {tokens}"


def _micro_tokens(estimate: Estimate, free: int) -> int | None:
    """Return the most tokens at once that fit, a multiple of 64; None if fewer than the minimum fit."""

    def fits(tokens: int) -> bool:
        return replace(estimate, settings=replace(estimate.settings, micro_tokens=tokens)).total <= free

    least = max(LEAST_TOKENS, estimate.longest)
    low, high = -(-least // 64), (estimate.settings.micro_tokens - 1) // 64
    if low > high or not fits(low * 64):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * 64) else (low, middle - 1)
    return low * 64


def _listed(changes: Iterator[str], available: FreeMemory) -> str:
    fitting = " · ".join(changes)
    more = "a GPU" if available.gpu else "a machine"
    return f"what would fit: {fitting}" if fitting else f"take {more} with more memory, or a smaller model"
