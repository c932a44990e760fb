"""Digests that are computed during a download or copy, so that large files are not read again for them."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from steadyphi.hub.listing import Listed

BLOCK = 1 << 20
COPY = 1 << 24


class Hasher:
    """Computes the SHA-256 of one file, for the manifest, and the digest of the kind that the Hub lists."""

    def __init__(self, listed: Listed) -> None:
        self.listed = listed
        self._sha256 = hashlib.sha256()
        self._git = None
        if listed.kind == "git":  # the header contains the size, so a file of another size never matches
            self._git = hashlib.sha1(b"blob %d\0" % listed.size, usedforsecurity=False)

    def update(self, data: bytes | memoryview) -> None:
        self._sha256.update(data)
        if self._git:
            self._git.update(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def fits(self) -> bool:
        """Whether the digest of the bytes so far is the listed one. True if no digest is listed."""
        if self.listed.kind == "none":
            return True
        return self.listed.digest == (self._git.hexdigest() if self._git else self.sha256)


def hash_file(file: int, hasher: Hasher, count: Callable[[int], None], size: int) -> int:
    """Hash up to `size` bytes from the current position of the file descriptor. Return the number read."""
    buffer = memoryview(bytearray(min(BLOCK, max(size, 1))))
    done = 0
    while done < size and (read := os.readv(file, [buffer[: min(len(buffer), size - done)]])):
        hasher.update(buffer[:read])
        done += read
        count(read)
    return done


def verified(path: Path, listed: Listed, count: Callable[[int], None]) -> str | None:
    """Return the SHA-256 of the file, or None if it does not match its listing or does not exist."""
    try:
        if path.stat().st_size != listed.size:
            return None
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    done = 0

    def add(amount: int) -> None:
        nonlocal done
        done += amount
        count(amount)

    try:
        hasher = Hasher(listed)
        if hash_file(file, hasher, add, listed.size) == listed.size and hasher.fits:
            return hasher.sha256
    finally:
        os.close(file)
    count(-done)
    return None


def copy(source: Path, target: Path, listed: Listed, count: Callable[[int], None]) -> Hasher:
    """Copy a file block by block to a path that does not exist yet, and hash the contents of the copy.

    The kernel copies the data if it can. On some file systems it shares the blocks instead. At most
    one byte more than the listed size is copied, which is enough to detect a larger file.
    """
    hasher = Hasher(listed)
    limit = listed.size + 1
    with source.open("rb", buffering=0) as old, target.open("x+b", buffering=0) as new:
        done = 0
        while done < limit and (step := _copy_block(old.fileno(), new.fileno(), min(COPY, limit - done))):
            os.lseek(new.fileno(), done, os.SEEK_SET)
            done += hash_file(new.fileno(), hasher, count, step)
    return hasher


def _copy_block(old: int, new: int, size: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(old, new, size)
        except OSError:  # not supported between these file systems; a real error is raised again below
            pass
    data = os.read(old, min(size, BLOCK))
    view = memoryview(data)
    while view:
        view = view[os.write(new, view) :]
    return len(data)
