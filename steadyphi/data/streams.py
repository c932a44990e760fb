"""Read text files line by line, plain or compressed by gzip or zstd, with a limit on their bytes."""

import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from steadyphi.errors import SteadyPhiError

PIECE = 1 << 20  # bytes that are decompressed at a time


class _Limited(io.RawIOBase):
    """A stream that raises SteadyPhiError after `most` bytes, or if its content is not whole."""

    def __init__(self, content: Any, file: Path, most: int) -> None:
        self.content, self.file, self.most, self.total = content, file, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self.content.read(len(buffer))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SteadyPhiError(f"{self.file}: is not a whole gzip file ({error})") from None
        except (OSError, pa.ArrowException) as error:
            kind = "is not a whole zstd file" if _is_zstd(self.file) else "cannot be read"
            raise SteadyPhiError(f"{self.file}: {kind} ({' '.join(str(error).split())})") from None
        self.total += len(piece)
        if self.total > self.most:
            raise too_large(str(self.file), self.most)
        buffer[: len(piece)] = piece
        return len(piece)


def too_large(source: str, most: int) -> SteadyPhiError:
    """Return the error for a source with more than `most` bytes."""
    return SteadyPhiError(
        f"{source}: has more than {most:,} bytes when it is unpacked, too many to read; keep fewer rows"
    )


def lines(file: Path, most: int) -> Iterator[str]:
    """Yield the lines of a UTF-8 file with their newlines; a byte order mark at its start is left out.

    Only a newline ends a line: JSON texts may contain other line breaks, such as U+2028. Raises
    SteadyPhiError if the file has more than `most` bytes after decompression, is cut off, or is not UTF-8.
    """
    position = 0
    with _opened(file, most) as content:
        for line in content:
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise SteadyPhiError(
                    f"{file}: is not UTF-8 text ({error.reason} at byte {position + error.start}); "
                    "save it as UTF-8"
                ) from None
            yield text.removeprefix(codecs.BOM_UTF8.decode()) if position == 0 else text
            position += len(line)


@contextlib.contextmanager
def _opened(file: Path, most: int) -> Iterator[io.BufferedReader]:
    try:
        opened: Any = file.open("rb")
    except OSError as error:
        raise SteadyPhiError(f"{file}: cannot be read ({error.strerror})") from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(opened)
        if file.suffix.lower() == ".gz":
            opened = stack.enter_context(gzip.GzipFile(fileobj=opened))
        elif _is_zstd(file):
            opened = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(opened), "zstd"))
        yield stack.enter_context(io.BufferedReader(_Limited(opened, file, most), PIECE))


def _is_zstd(file: Path) -> bool:
    return file.suffix.lower() == ".zst"
