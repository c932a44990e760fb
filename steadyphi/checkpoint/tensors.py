"""The location, dtype and shape of a tensor in a file. Nothing here reads its numbers."""

import math
from dataclasses import dataclass
from pathlib import Path

# Bytes per element for each dtype that the weights of a checkpoint can have.
WEIGHT_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}

MOST_DIMENSIONS = 64  # the limit of torch


@dataclass(frozen=True)
class Stored:
    """A tensor in row-major order, starting at byte `offset` of the file `path`."""

    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


def elements(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a tensor of this shape."""
    return math.prod(shape)


def contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the stride of each dimension, in elements, of a row-major tensor of this shape."""
    return tuple(elements(shape[i + 1 :]) for i in range(len(shape)))
