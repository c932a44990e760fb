"""torch checkpoint files: a zip with one uncompressed record per storage, and a pickle that names them.

Reading locates the bytes of each tensor. Writing plans the whole file first, so that several threads can
write tensors. The checksums are written at the end.
"""

import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

from steadyphi.checkpoint import torch_pickle
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, Stored, contiguous_stride, elements
from steadyphi.errors import SteadyPhiError

LONGEST_PICKLE = 16_000_000  # bytes; that of Phi-2 has 60 thousand
LONGEST_READ = 16_000_000  # bytes; the list of records at the end of the file is read at once
ALIGNMENT = 64  # bytes, as in torch.save, so that tensors can be memory-mapped
_LOCAL, _CENTRAL, _END64, _LOCATOR, _END = (b"PK" + n for n in (b"\3\4", b"\1\2", b"\6\6", b"\6\7", b"\5\6"))


def read(file: BinaryIO, size: int, path: Path, *, places: bool = True) -> dict[str, Stored]:
    """Return the tensors of an open torch checkpoint by name. No pickled code is executed.

    places: whether to look up the `offset` of each tensor, which takes one read per tensor. If false,
        `offset` is computed from the start of the zip record, and can only be used to distinguish records.
    Raises SteadyPhiError when the file is not a complete zip or its pickle is not a dict of tensors.
    """
    try:
        with zipfile.ZipFile(cast(BinaryIO, _Limited(file))) as archive:
            records = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            if "byteorder" in records and _record(archive, records["byteorder"], 16) != b"little":
                raise SteadyPhiError(f"{path}: was written big-endian; load and save it on another machine")
            references = torch_pickle.read(_record(archive, records["data.pkl"], LONGEST_PICKLE))
        return {
            name: _locate(file, size, path, name, reference, records, places)
            for name, reference in references.items()
        }
    except torch_pickle.BadPickle as error:
        raise SteadyPhiError(f"{path}: its pickle was rejected: {error}") from None
    except SteadyPhiError:
        raise
    except Exception as error:  # zipfile raises many types for damaged files
        kind = type(error).__name__
        raise SteadyPhiError(
            f"{path}: is not a whole torch checkpoint ({kind}: {error}); fetch it again, or save it again"
        ) from None


class _Limited:
    """An open file that refuses to read too much at once: `zipfile` reads its list of records in one call."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > LONGEST_READ:
            raise ValueError(f"its list of records is {size:,} bytes long")
        return self.file.read(size if size >= 0 else LONGEST_READ)


def _record(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """Return a small record. Raises ValueError if it is too long, or compressed, which torch never does."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"the record {info.filename} is compressed")
    if info.file_size > most:
        raise ValueError(f"the record {info.filename} is {info.file_size:,} bytes long")
    return archive.read(info)


def _locate(
    file: BinaryIO,
    size: int,
    path: Path,
    name: str,
    reference: torch_pickle.TensorRef,
    records: Mapping[str, zipfile.ZipInfo],
    places: bool,
) -> Stored:
    info = records[f"data/{reference.key}"]
    dtype = torch_pickle.STORAGES.get(reference.storage, reference.storage)
    width = WEIGHT_BYTES.get(dtype) or torch_pickle.OTHER_STORAGES[dtype]
    numel = elements(reference.shape)
    if numel > 1 and reference.stride != contiguous_stride(reference.shape):
        raise SteadyPhiError(f"{path}: {name} is not stored in row-major order; save it with .contiguous()")
    begin, plain = info.header_offset, info.compress_type == zipfile.ZIP_STORED
    if places:
        file.seek(info.header_offset)
        local = file.read(30)
        length, extra = struct.unpack("<HH", local[26:30])
        named = file.read(length) == info.orig_filename.encode()
        plain = plain and named and local[:4] == _LOCAL
        begin += 30 + length + extra
    if not plain:
        raise ValueError(f"the record of {name} is compressed or damaged")
    if (reference.offset + numel) * width > info.file_size or begin + info.file_size > size:
        raise ValueError(f"{name} of shape {list(reference.shape)} ends after the end of its record")
    return Stored(path, begin + reference.offset * width, dtype, reference.shape, numel * width)


class Writer:
    """Plans a checkpoint file of contiguous tensors (dtype, shape) in the given order.

    places: tensor name -> offset in the file, in bytes.
    size: the number of bytes before the central directory of the zip.
    """

    def __init__(self, path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        self.path = path
        self._records: list[tuple[str, int, int, int]] = []  # name, header, data, length
        self._small = {"data.pkl": torch_pickle.write(tensors), "byteorder": b"little"}
        end = 0
        for name, data in self._small.items():
            end = self._add(name, len(data), end)
        self.places: dict[str, int] = {}
        for key, (name, (dtype, shape)) in enumerate(tensors.items()):
            end = self._add(f"data/{key}", elements(shape) * WEIGHT_BYTES[dtype], end)
            self.places[name] = self._records[-1][2]
        self._small["version"] = b"3\n"
        self.size = self._add("version", 2, end)

    def _add(self, name: str, length: int, end: int) -> int:
        full = f"{self.path.stem}/{name}"
        data = -(-(end + 30 + len(full) + 4) // ALIGNMENT) * ALIGNMENT
        self._records.append((full, end, data, length))
        if length >= 2**32 - 1:
            raise SteadyPhiError(f"{self.path}: a tensor of {length:,} bytes is too large for a torch zip")
        return data + length

    def finish(self, fd: int, checksums: Mapping[str, int]) -> None:
        """Write everything except the tensors: the small records, all headers and the central directory.

        checksums: tensor name -> CRC-32 of its bytes.
        """
        from isal.isal_zlib import crc32

        crcs = [checksums[name] for name in self.places]
        directory = b""
        for full, header, data, length in self._records:
            name = full.partition("/")[2]
            if name in self._small:
                content = self._small[name]
                os.pwrite(fd, content, data)
                crc = crc32(content)
            else:
                crc = crcs[int(name.removeprefix("data/"))]
            encoded = full.encode()
            # Version 0, no flags, stored, no time, as in torch. The bytes are therefore reproducible.
            facts = struct.pack("<HHHHHIIIH", 0, 0, 0, 0, 0, crc, length, length, len(encoded))
            gap = data - header - 30 - len(encoded)
            padding = struct.pack("<2sH", b"FB", gap - 4) + b"Z" * (gap - 4)
            os.pwrite(fd, _LOCAL + facts + struct.pack("<H", gap) + encoded + padding, header)
            where = struct.pack("<HHQ", 1, 8, header)  # zip64 extra field: the offset of the record
            directory += _CENTRAL + struct.pack("<H", 45) + facts
            directory += struct.pack("<HHHHII", len(where), 0, 0, 0, 0, 2**32 - 1) + encoded + where
        os.pwrite(fd, directory + _end(len(self._records), len(directory), self.size), self.size)


def _end(count: int, length: int, start: int) -> bytes:
    """Return the end of a zip64 file. Its directory has `count` entries in `length` bytes from `start` on."""
    end = _END64 + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, length, start)
    end += _LOCATOR + struct.pack("<IQI", 0, start + length, 1)
    return end + _END + struct.pack("<HHHHIIH", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
