"""Reads and writes the headers of safetensors files, with all checks that the format requires.

The format is defined at https://huggingface.co/docs/safetensors. Eight bytes give the length of the header,
which is JSON. The bytes of the tensors follow, without gaps or overlaps.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from steadyphi.checkpoint.tensors import MOST_DIMENSIONS, WEIGHT_BYTES, Stored, elements
from steadyphi.errors import SteadyPhiError
from steadyphi.files import parse_object

LONGEST_HEADER = 100_000_000  # bytes; the limit of the format
CODES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
# Dtypes that only buffers have (masks, tables). Buffers are located but never converted.
_OTHER_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4}
_OTHER_BYTES |= {"F64": 8, "I64": 8, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1}


def read_header(file: BinaryIO, size: int, path: Path) -> dict[str, Stored]:
    """Return the tensors of an open safetensors file of `size` bytes by name.

    path: the path stored with the tensors and named in error messages.
    Raises SteadyPhiError unless the tensors fill the file exactly.
    """
    try:
        start, entries = _entries(file, size, path)
        tensors = {name: _tensor(path, name, value, start) for name, value in entries.items()}
        _check_filled(tensors, start, size)
    except _BadHeader as error:
        raise SteadyPhiError(f"{path}: is not a whole safetensors file: {error}; fetch it again") from None
    return tensors


def header(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """Return the header of a file with tensors of these (dtype, shape), in this order.

    The header is padded with spaces to a multiple of eight bytes, so that the tensors are aligned.
    """
    codes = {name: code for code, name in CODES.items()}
    values: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + elements(shape) * WEIGHT_BYTES[dtype]
        values[name] = {"dtype": codes[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(values, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


class _BadHeader(Exception):
    pass


def _entries(file: BinaryIO, size: int, path: Path) -> tuple[int, dict[str, Any]]:
    """Return the offset of the first tensor, and the entries of the header."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, LONGEST_HEADER):
        raise _BadHeader(f"its header would be {length:,} bytes long, the file is {size:,}")
    entries = parse_object(file.read(length), path, "a safetensors header", "fetch it again")
    entries.pop("__metadata__", None)
    return 8 + length, entries


def _tensor(path: Path, name: str, entry: Any, start: int) -> Stored:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise _BadHeader(f"the entry of {name!r} has no dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = CODES.get(code, code) if isinstance(code, str) else ""
    width = WEIGHT_BYTES.get(dtype) or _OTHER_BYTES.get(dtype)
    if width is None:
        raise _BadHeader(f"{name!r} is of the unknown type {code!r}")
    if not _naturals(shape, MOST_DIMENSIONS) or not _naturals(offsets, 2) or len(offsets) < 2:
        raise _BadHeader(f"shape or data_offsets of {name!r} are not whole numbers")
    nbytes = offsets[1] - offsets[0]
    if nbytes != elements(tuple(shape)) * width:
        raise _BadHeader(f"{name!r} of shape {shape} does not fit into {nbytes:,} bytes")
    return Stored(path, start + offsets[0], dtype, tuple(shape), nbytes)


def _naturals(values: Any, most: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= most
        and all(type(value) is int and value >= 0 for value in values)
    )


def _check_filled(tensors: dict[str, Stored], start: int, size: int) -> None:
    end = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if tensor.offset != end:
            raise _BadHeader(f"{name!r} begins at byte {tensor.offset:,}, but {end:,} was expected")
        end += tensor.nbytes
    if end != size:
        raise _BadHeader(f"its tensors end at byte {end:,}, the file at {size:,}")


class Writer:
    """Plans a file of tensors (dtype, shape) in the given order. `places` has the offset of each tensor."""

    def __init__(self, path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        self.path = path
        self._header = header(tensors)
        self.places: dict[str, int] = {}
        self.size = len(self._header)
        for name, (dtype, shape) in tensors.items():
            self.places[name] = self.size
            self.size += elements(shape) * WEIGHT_BYTES[dtype]

    def finish(self, fd: int, checksums: Mapping[str, int]) -> None:
        """Write the header. The format has no checksums, so `checksums` is not used."""
        os.pwrite(fd, self._header, 0)
