"""Several processes of one run, as torchrun starts them: each has a rank and a share of the work."""

import contextlib
import os
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def rank() -> int:
    """Return this process's number; 0 is the one that writes results, and the only one without torchrun."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Return how many processes the run has."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Connect the processes of the run with one another while the block lasts."""
    if world_size() == 1:
        yield
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    except SystemExit:  # all of them leave
        distributed.destroy_process_group()
        raise
    # After an error of one process the others may wait for it, and so would this.
    distributed.destroy_process_group()


def gather(value: T) -> list[T]:
    """Return every process's value, in the order of the ranks, to every process."""
    if world_size() == 1:
        return [value]
    values: list[T | None] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values  # type: ignore[return-value]
