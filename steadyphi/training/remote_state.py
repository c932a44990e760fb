"""A copy of a run's saved states that outlives the machine, at `STEADYPHI_STATE_URL`.

The URL is one that fsspec knows, such as s3://bucket/folder (with s3fs installed), gs://… or file:///mnt/…;
below it each run has a folder, named by its digest. An object store has no renaming, so a state counts as
whole if it has its record, which is sent last.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError, mask, printable

URL = "STEADYPHI_STATE_URL"
RECORD = "record.json"
STATE = re.compile(r"(step|best)-\d{8}")
FILE = re.compile(r"[\w.]+")  # the files of a state: .metadata, __0_0.distcp and the like


class RemoteState:
    """The states of one run at a URL."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise SteadyPhiError(f"{URL}: {printable(mask(url))}: {_reason(error)}") from None

    def fetch(self, folder: Path) -> None:
        """Receive the newest state, and the best weights that it names, unless `folder` has a state as new.

        Raises SteadyPhiError if the URL cannot be read, because a run that began anew would overwrite it.
        """
        try:
            whole = [name for name in self._states() if self.files.exists(f"{self.root}/{name}/{RECORD}")]
            newest = max((name for name in whole if name.startswith("step-")), default="")
            if newest <= max((path.name for path in folder.glob("step-*")), default=""):
                return
            # The state last, because a state without the best weights that it names would not be complete.
            for name in [*(n for n in whole if n.startswith("best-")), newest]:
                self._receive(name, folder)
        except Exception as error:  # each file system has its own errors
            raise SteadyPhiError(f"{URL}: {printable(mask(self.url))}: {_reason(error)}") from None
        print(f"finetune: received {newest} from {URL}", file=sys.stderr, flush=True)

    def send(self, state: Path, kept: set[str]) -> None:
        """Send a whole state, then remove all others but `kept`. A failure is only a warning."""
        place = f"{self.root}/{state.name}"
        try:
            self.files.makedirs(place, exist_ok=True)
            for path in sorted(state.iterdir(), key=lambda path: path.name == RECORD):
                self.files.put_file(str(path), f"{place}/{path.name}")
            for name in set(self._states()) - kept - {state.name}:
                self.files.rm(f"{self.root}/{name}", recursive=True)
        except Exception as error:
            print(f"warning: {URL}: {state.name} was not sent: {_reason(error)}", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the run's folder, if anything was sent there."""
        try:
            self.files.invalidate_cache()
            if self.files.exists(self.root):
                self.files.rm(self.root, recursive=True)
        except Exception as error:
            print(f"warning: {URL}: cannot be cleared: {_reason(error)}", file=sys.stderr, flush=True)

    def _states(self) -> list[str]:
        self.files.invalidate_cache()
        if not self.files.exists(self.root):
            return []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in self.files.ls(self.root, detail=False)]
        return [name for name in names if STATE.fullmatch(name)]

    def _receive(self, name: str, folder: Path) -> None:
        hidden, final = folder / f".{name}.part", folder / name
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        for path in self.files.ls(f"{self.root}/{name}", detail=False):
            file = str(path).rpartition("/")[2]
            if not FILE.fullmatch(file) or file in (".", ".."):
                raise SteadyPhiError(f"{printable(file)} is not the name of a state's file")
            self.files.get_file(path, str(hidden / file))
        shutil.rmtree(final, ignore_errors=True)
        hidden.rename(final)


def remote_state(digest: str) -> RemoteState | None:
    """Return the remote states of the run with this digest; None if `STEADYPHI_STATE_URL` is not set."""
    url = os.environ.get(URL)
    return RemoteState(f"{url.rstrip('/')}/{digest}") if url else None


def _reason(error: Any) -> str:
    return printable(mask(" ".join(str(error).split())) or type(error).__name__)[:200]
