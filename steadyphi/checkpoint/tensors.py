"""A tensor as it lies in a file: where, of which type and shape. Its numbers are not understood here."""

import math
from dataclasses import dataclass
from pathlib import Path

# Bytes an element of each type that a checkpoint's weights may have.
WEIGHT_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class Stored:
    """`shape` elements of `dtype`, row after row, from byte `offset` of the file `path`."""

    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


def elements(shape: tuple[int, ...]) -> int:
    """Return how many numbers a tensor of this shape has."""
    return math.prod(shape)


def contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many elements lie between neighbours along each dimension, row after row."""
    return tuple(elements(shape[i + 1 :]) for i in range(len(shape)))
