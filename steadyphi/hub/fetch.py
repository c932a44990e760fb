"""Fetches weights from a folder, or from a repository on the Hugging Face Hub at a pinned commit.

huggingface_hub lists the repository and sends the HTTP requests. The bytes are received here, because
huggingface_hub accepts a corrupt file of the right size and discards a partial file when its process ends.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from steadyphi.checkpoint import manifest
from steadyphi.checkpoint.indexes import check_complete
from steadyphi.errors import SteadyPhiError
from steadyphi.hub import space
from steadyphi.hub.listing import Listed, Listing, choose
from steadyphi.hub.threads import Shared, for_each, say

if TYPE_CHECKING:
    from steadyphi.hub.remote import RemoteFile

__all__ = ["Listed", "Listing", "fetch", "listing", "open_remote"]


def fetch(
    source: str, revision: str | None, into: Path, cache: Path, from_safetensors: bool | None = None
) -> dict[str, Any]:
    """Fetch the repository `source` into the folder `into`, verify it, and return its manifest.

    source: an existing folder, or a Hub id such as `microsoft/phi-2` together with a `revision`.
    cache: the folder that keeps received data, so that an interrupted download can be resumed.
    from_safetensors: None prefers safetensors to .bin. True requires safetensors, False requires .bin.
    Raises SteadyPhiError if files are missing, differ from the listing, or cannot be fetched.
    """
    if Path(source).is_dir():
        hashes = _from_folder(Path(source), into, from_safetensors)
        commit = revision
    else:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(source, cache):
            hashes, commit = _from_hub(source, revision, into, cache, from_safetensors)
    check_complete(into)
    return manifest.make(into, hashes, source=source, revision=commit)


def listing(source: str, revision: str | None) -> Listing:
    """Return the files in the top folder of a repository on the Hub, and their commit.

    revision: None is the current default branch.
    """
    from steadyphi.hub.remote import Hub

    return Hub(source).listing(revision)


def open_remote(source: str, commit: str, listed: Listed) -> "RemoteFile":
    """Return a file on the Hub for reading parts of it, such as its header. Each read is one request."""
    from steadyphi.hub.remote import RemoteFile

    return RemoteFile(source, commit, listed)


def _from_folder(source: Path, into: Path, from_safetensors: bool | None) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    from steadyphi.hub import folder

    if source.samefile(into):
        raise SteadyPhiError(f"{source}: is the folder to fetch into; name another folder")
    chosen = choose(str(source), folder.listing(source), from_safetensors, local=True)
    space.check(str(source), [(into, sum(listed.size for listed in chosen.values()))])
    return _in_threads(chosen, lambda listed, shared: folder.bring(source, listed, into, shared))


def _from_hub(
    source: str, revision: str | None, into: Path, cache: Path, from_safetensors: bool | None
) -> tuple[dict[str, str], str]:
    """Return the SHA-256 of each file, and the commit."""
    from huggingface_hub import is_offline_mode

    from steadyphi.hub.partials import Store
    from steadyphi.hub.remote import Hub

    store = Store(source, cache)
    hub = None if is_offline_mode() else Hub(source)
    if hub:
        at_commit = hub.listing(revision)
        store.save(at_commit)
    else:
        at_commit = store.listing(revision)
    if revision != at_commit.commit:
        say(f"{source}: {revision or 'its default branch'} is {at_commit.commit} now")
    chosen = choose(source, at_commit.files, from_safetensors, local=False)
    if not hub:
        store.check_complete(chosen, at_commit.commit)
    copied = 0 if space.can_link(store.files, into) else sum(listed.size for listed in chosen.values())
    lacks = store.lacks(chosen.values(), at_commit.commit)
    space.check(source, [(store.files, lacks), (into, copied)])

    def bring(listed: Listed, shared: Shared) -> str:
        sha256 = store.obtain(listed, at_commit.commit, hub, shared)
        store.place(listed, into, shared)
        return sha256

    return _in_threads(chosen, bring), at_commit.commit


def _in_threads(chosen: Mapping[str, Listed], bring: Callable[[Listed, Shared], str]) -> dict[str, str]:
    """Fetch the files, the largest first, and return the SHA-256 of each."""
    files = sorted(chosen.values(), key=lambda listed: -listed.size)
    shared = Shared("fetch", sum(listed.size for listed in files))
    try:
        hashes = for_each(files, lambda listed: bring(listed, shared), shared)
    finally:
        shared.close()
    return {listed.name: sha256 for listed, sha256 in zip(files, hashes, strict=True)}


@contextlib.contextmanager
def _locked(source: str, cache: Path) -> Iterator[None]:
    """Lock the cache, which concurrent experiments share. The second waits and finds all files there."""
    lock = FileLock(cache / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{source}: another process is fetching it; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
