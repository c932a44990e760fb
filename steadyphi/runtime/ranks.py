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


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Create the process group of the run for the duration of the block."""
    if world_size() == 1:
        yield
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
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
