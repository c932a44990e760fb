"""The rank of a process, the number of processes of a run and communication between them (torchrun)."""

import contextlib
import os
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def rank() -> int:
    """Return this process's rank; rank 0 writes results, and is the only one without torchrun."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Return the number of processes of the run."""
    return int(os.environ.get("WORLD_SIZE", 1))


def shards() -> int:
    """Return the number of processes that share one copy of the weights if these are sharded.

    It is the number of processes on each machine, or of all processes if each machine has only one.
    """
    world, here = world_size(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return here if here > 1 and world % here == 0 else world


@contextlib.contextmanager
def joined(device: torch.device | None = None) -> Iterator[None]:
    """Create the process group of the run for the duration of the block.

    device: the device of this process; None is a CPU.
    """
    if world_size() == 1:
        yield
        return
    if device is not None and device.type == "cuda":
        # With its device NCCL connects at once, and a barrier need not guess it.
        distributed.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
    else:
        distributed.init_process_group("gloo")
    try:
        yield
    except SystemExit:  # all processes exit
        distributed.destroy_process_group()
        raise
    # Not after an error: the other processes may be waiting for this one, and this call would wait for them.
    distributed.destroy_process_group()


def gather(value: T) -> list[T]:
    """Return the values of all processes, ordered by rank; every process receives them."""
    if world_size() == 1:
        return [value]
    values: list[T | None] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values  # type: ignore[return-value]
