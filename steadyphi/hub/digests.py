"""Digests that are computed while bytes pass, so that no large file is read only to be hashed."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from steadyphi.hub.listing import Listed

BLOCK = 1 << 20
COPY = 1 << 24


class Hasher:
    """The SHA-256 of one file, for the manifest, and with it the digest that the file is listed with."""

    def __init__(self, listed: Listed) -> None:
        self.listed = listed
        self._sha256 = hashlib.sha256()
        self._git = None
        if listed.kind == "git":  # the header names the size, so a file of another size never fits
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
        """Whether the bytes so far are the listed ones; true where no digest is listed."""
        if self.listed.kind == "none":
            return True
        return self.listed.digest == (self._git.hexdigest() if self._git else self.sha256)


def hash_file(file: int, hasher: Hasher, count: Callable[[int], None], size: int) -> int:
    """Feed `size` bytes from the file descriptor's place on to `hasher`; return how many there were."""
    buffer = memoryview(bytearray(min(BLOCK, max(size, 1))))
    done = 0
    while done < size and (read := os.readv(file, [buffer[: min(len(buffer), size - done)]])):
        hasher.update(buffer[:read])
        done += read
        count(read)
    return done


def verified(path: Path, listed: Listed, count: Callable[[int], None]) -> str | None:
    """Return the SHA-256 of the file if it is the listed one, else None; None too where there is none."""
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
    """Copy a file block by block to a place where there is none, and hash what the copy then holds.

    The kernel copies where it can, which on some file systems shares the blocks instead. At most
    one byte more than listed is copied: enough to tell that the file has another size.
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
        except OSError:  # not between these file systems; what is really wrong shows again below
            pass
    data = os.read(old, min(size, BLOCK))
    view = memoryview(data)
    while view:
        view = view[os.write(new, view) :]
    return len(data)
