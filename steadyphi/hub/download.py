"""Downloads one file from the Hub, hashes it during the download, and resumes interrupted downloads."""

import os
import re
from io import FileIO
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError
from steadyphi.hub.digests import Hasher, hash_file
from steadyphi.hub.listing import Listed
from steadyphi.hub.remote import Hub
from steadyphi.hub.retries import HTTPError, status_of
from steadyphi.hub.threads import Shared


class Wrong(Exception):
    """The received data is not the listed file. The message states the difference."""


def partial(folder: Path, listed: Listed) -> Path:
    """Return the path of an incomplete file. Its name contains the digest, to distinguish versions."""
    return folder / f"{listed.name}.{listed.digest[:16]}.partial"


def download(hub: Hub, commit: str, listed: Listed, folder: Path, shared: Shared) -> str:
    """Download a file into `folder` and return its SHA-256.

    The download of a partial file is resumed. If the received file has another size or digest, it is
    downloaded once more from the beginning. If it differs again, SteadyPhiError names the file.
    SteadyPhiError is also raised if the file cannot be fetched; the bytes received so far are kept.
    """
    path = partial(folder, listed)
    for older in folder.iterdir():
        if older != path and re.fullmatch(rf"{re.escape(listed.name)}\.[0-9a-f]{{16}}\.partial", older.name):
            older.unlink()
    for last in (False, True):
        try:
            with path.open("a+b", buffering=0) as file:  # unbuffered: a crash loses no data
                sha256 = _receive(hub, commit, listed, file, shared)
            # No fsync, because after a power failure the file is hashed before it is used.
            path.replace(folder / listed.name)
            return sha256
        except Wrong as wrong:
            path.unlink(missing_ok=True)
            if last:
                raise SteadyPhiError(f"{hub.source}: {listed.name}: {wrong}; it was fetched twice") from None
    raise AssertionError


def _receive(hub: Hub, commit: str, listed: Listed, file: FileIO, shared: Shared) -> str:
    """Append the missing bytes to `file` and return the SHA-256 of the file. Raises Wrong on a mismatch."""
    patience = hub.patience(None, listed.name)
    hasher = Hasher(listed)
    have = _hash_partial(file, hasher, shared)
    try:
        while have < listed.size:
            try:
                with hub.open(listed.name, commit, have) as response:
                    if have and response.status_code != 206:  # no range support: start again from byte 0
                        shared.skip(-have)
                        hasher, have = Hasher(listed), 0
                        file.truncate(0)
                    _check_length(response, have, listed.size)
                    for piece in response.iter_bytes():
                        if have + len(piece) > listed.size:
                            raise Wrong(f"has more than the {listed.size:,} bytes that the Hub lists")
                        shared.add(len(piece))
                        _write(file, piece)
                        hasher.update(piece)
                        have += len(piece)
                        patience.progressed()
                    if have < listed.size:  # there was no Content-Length, so the client did not detect this
                        raise HTTPError("the response ended early")
            except HTTPError as error:
                if status_of(error) == 416:
                    raise Wrong(f"ends at byte {have:,}, but the Hub lists {listed.size:,} bytes") from None
                patience.after(error)
        if not hasher.fits:
            kind = "SHA-256" if listed.kind == "sha256" else "git blob id"
            raise Wrong(f"has a different {kind} than the Hub lists")
    except Wrong:
        shared.skip(-have)
        raise
    return hasher.sha256


def _hash_partial(file: FileIO, hasher: Hasher, shared: Shared) -> int:
    """Hash the bytes that an earlier process received and return their number."""
    size = os.fstat(file.fileno()).st_size
    if size > hasher.listed.size:
        file.truncate(0)
        return 0
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return hash_file(file.fileno(), hasher, shared.skip, size)


def _write(file: FileIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _check_length(response: Any, have: int, size: int) -> None:
    """Raise Wrong if the response headers do not describe the missing bytes."""
    headers = response.headers
    if response.status_code == 206 and not headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        raise Wrong("starts at a different byte than requested")
    announced = headers.get("Content-Length", "")
    encoded = headers.get("Content-Encoding", "identity") != "identity"
    if announced.isdigit() and not encoded and have + int(announced) != size:
        raise Wrong(f"has {have + int(announced):,} bytes on the server, but the Hub lists {size:,}")
