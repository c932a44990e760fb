"""One file from the Hub: hashed as it comes, gone on with where an earlier process stopped."""

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
    """What came is not the listed file; the text says in what."""


def partial(folder: Path, listed: Listed) -> Path:
    """Return where a file lies until it is whole; the digest in the name tells it from another version."""
    return folder / f"{listed.name}.{listed.digest[:16]}.partial"


def download(hub: Hub, commit: str, listed: Listed, folder: Path, shared: Shared) -> str:
    """Bring a file into `folder` and return its SHA-256.

    What an earlier process left is gone on with. A file that comes with another size or digest is
    fetched once more, from its beginning; then SteadyPhiError names it. SteadyPhiError too when it
    cannot be fetched; what arrived is kept.
    """
    path = partial(folder, listed)
    for older in folder.iterdir():
        if older != path and re.fullmatch(rf"{re.escape(listed.name)}\.[0-9a-f]{{16}}\.partial", older.name):
            older.unlink()
    for last in (False, True):
        try:
            with path.open("a+b", buffering=0) as file:  # nothing is lost in a buffer when the process dies
                sha256 = _receive(hub, commit, listed, file, shared)
            # Not fsynced: whatever a power cut leaves of it is hashed before it is used.
            path.replace(folder / listed.name)
            return sha256
        except Wrong as wrong:
            path.unlink(missing_ok=True)
            if last:
                raise SteadyPhiError(
                    f"{hub.source}: {listed.name}: {wrong}, both times it was fetched"
                ) from None
    raise AssertionError


def _receive(hub: Hub, commit: str, listed: Listed, file: FileIO, shared: Shared) -> str:
    """Append what is missing to `file` and return the SHA-256 of the whole; Wrong when it does not fit."""
    patience = hub.patience(None, listed.name)
    hasher = Hasher(listed)
    have = _take_up(file, hasher, shared)
    try:
        while have < listed.size:
            try:
                with hub.open(listed.name, commit, have) as response:
                    if have and response.status_code != 206:  # it knows no ranges: all of it once more
                        shared.skip(-have)
                        hasher, have = Hasher(listed), 0
                        file.truncate(0)
                    _check_length(response, have, listed.size)
                    for piece in response.iter_bytes():
                        if have + len(piece) > listed.size:
                            raise Wrong(f"comes with more than the {listed.size:,} bytes listed")
                        shared.add(len(piece))
                        _write(file, piece)
                        hasher.update(piece)
                        have += len(piece)
                        patience.progressed()
                    if have < listed.size:  # no length was announced, so the client noticed nothing
                        raise HTTPError("the answer ended early")
            except HTTPError as error:
                if status_of(error) == 416:
                    raise Wrong(f"ends before byte {have:,} of the {listed.size:,} listed") from None
                patience.after(error)
        if not hasher.fits:
            kind = "SHA-256" if listed.kind == "sha256" else "git blob id"
            raise Wrong(f"comes with another {kind} than is listed")
    except Wrong:
        shared.skip(-have)
        raise
    return hasher.sha256


def _take_up(file: FileIO, hasher: Hasher, shared: Shared) -> int:
    """Hash what an earlier process left and return how much that is."""
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
    """Raise Wrong when the answer's headers announce something else than the bytes that are missing."""
    headers = response.headers
    if response.status_code == 206 and not headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        raise Wrong("comes from another place than was asked for")
    announced = headers.get("Content-Length", "")
    encoded = headers.get("Content-Encoding", "identity") != "identity"
    if announced.isdigit() and not encoded and have + int(announced) != size:
        raise Wrong(f"has {have + int(announced):,} bytes on the server, {size:,} are listed")
