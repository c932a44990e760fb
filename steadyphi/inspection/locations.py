"""Where a checkpoint is read from: a folder, or a repository on the Hub, which is read in small pieces."""

import io
from pathlib import Path
from typing import BinaryIO, cast

from steadyphi.errors import SteadyPhiError
from steadyphi.files import open_file
from steadyphi.hub.listing import Listed

LONGEST = 1_000_000  # bytes of a settings file; those of Phi have a few thousand
AHEAD = 1 << 16  # minimum bytes per request to the Hub; most headers fit in this


class Folder:
    """A local folder. `files` maps the name of each file in it to its listing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commit: str | None = None
        try:
            there = sorted(path.iterdir())
        except OSError as error:
            raise SteadyPhiError(f"{path}: {error.strerror}") from None
        self.files = {p.name: Listed(p.name, p.stat().st_size, "none", "") for p in there if p.is_file()}
        self.folders = [p.name for p in there if p.is_dir()]

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """Return an open file and its size."""
        path = self.path / name
        try:
            return open_file(path)
        except OSError as error:
            raise SteadyPhiError(f"{path}: {error.strerror}; fetch it again") from None


class Repository:
    """A repository on the Hub at one commit. `files` are the files of its top folder, by name."""

    def __init__(self, source: str, revision: str | None) -> None:
        from steadyphi.hub import fetch  # imports the Hub's library, which a folder does not need

        listed = fetch.listing(source, revision)
        self.path = Path(source)
        self.commit: str | None = listed.commit
        self.files = listed.files
        self.folders: list[str] = []

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """Return a file whose bytes are downloaded as they are read, and its size."""
        from steadyphi.hub import fetch

        if name not in self.files:
            raise SteadyPhiError(f"{self.path / name}: the repository does not have it")
        remote = fetch.open_remote(str(self.path), str(self.commit), self.files[name])
        return cast(BinaryIO, io.BufferedReader(remote, AHEAD)), self.files[name].size


Place = Folder | Repository


def find(where: str, revision: str | None) -> Place:
    """Return the folder `where`, or else the repository of that name.

    Raises SteadyPhiError if neither exists or the Hub does not answer.
    """
    path = Path(where)
    if path.is_dir():
        if revision is not None:
            raise SteadyPhiError(f"{where}: is a folder, which has no revision {revision}")
        return Folder(path)
    if path.exists():
        raise SteadyPhiError(f"{where}: is a file; give the folder that contains it")
    return Repository(where, revision)


def content(place: Place, name: str) -> bytes:
    """Return the bytes of a small file. Raises SteadyPhiError if it is too large or cannot be read."""
    file, size = place.open(name)
    with file:
        if size > LONGEST:
            raise SteadyPhiError(f"{place.path / name}: is {size:,} bytes long, too long for settings")
        return file.read(size)
