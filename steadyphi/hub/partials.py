"""Keeps a repository on disk between processes: its listing, its complete files and its partial files."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from steadyphi.errors import SteadyPhiError
from steadyphi.hub import hf_cache
from steadyphi.hub.digests import copy, verified
from steadyphi.hub.download import download, partial
from steadyphi.hub.listing import Listed, Listing
from steadyphi.hub.remote import Hub
from steadyphi.hub.threads import Shared, say


class Store:
    """The folder `folder` for one repository at one revision."""

    def __init__(self, source: str, folder: Path) -> None:
        self.source = source
        self.files = folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self._listing = folder / "listing.json"

    def save(self, listing: Listing) -> None:
        """Save the listing for use without the network."""
        listing.save(self._listing)

    def listing(self, revision: str | None) -> Listing:
        """Return the saved listing, or else the one in huggingface_hub's cache. Uses no network."""
        kept = Listing.load(self._listing)
        pinned = re.fullmatch("[0-9a-f]{40}", revision or "")
        if kept and kept.source == self.source and (not pinned or kept.commit == revision):
            return kept
        if cached := hf_cache.listing(self.source, revision):
            return cached
        at = f" at {revision}" if revision else ""
        raise SteadyPhiError(
            f"{self.source}{at}: HF_HUB_OFFLINE is set, but neither {self.files.parent} nor "
            f"{hf_cache.folder(self.source)} has it, and it is not a local folder; unset it to fetch, "
            "or name a folder that has the files (in the pipeline: fetch.source, below assets/)"
        )

    def check_complete(self, chosen: Mapping[str, Listed], commit: str) -> None:
        """Raise SteadyPhiError if any file must be downloaded. The message names these files."""
        absent = [
            n for n, f in chosen.items() if not self._has(f) and not hf_cache.find(self.source, commit, f)
        ]
        if absent:
            names = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
            raise SteadyPhiError(
                f"{self.source}: HF_HUB_OFFLINE is set, but {names} can only come from the Hub; "
                "unset it to fetch, or name a folder that has them (in the pipeline: fetch.source, "
                "below assets/)"
            )

    def lacks(self, chosen: Iterable[Listed], commit: str) -> int:
        """Return the number of bytes that have yet to be written into `files`."""
        return sum(self._lacks(listed, commit) for listed in chosen)

    def obtain(self, listed: Listed, commit: str, hub: Hub | None, shared: Shared) -> str:
        """Put the verified file into `files` and return its SHA-256. Without `hub`, it must exist locally."""
        path = self.files / listed.name
        if sha256 := verified(path, listed, shared.skip):
            return sha256
        if path.exists():
            say(f"{path}: differs from the Hub's listing; fetching it again")
            path.unlink()
        if sha256 := self._from_hf_cache(listed, commit, shared):
            return sha256
        if hub is None:
            raise SteadyPhiError(
                f"{self.source}: the local {listed.name} differs from the Hub's listing; "
                "unset HF_HUB_OFFLINE to fetch it again"
            )
        return download(hub, commit, listed, self.files, shared)

    def place(self, listed: Listed, into: Path, shared: Shared) -> None:
        """Put the file into a folder, as a hard link (weights are gigabytes) or as a verified copy."""
        path, target = self.files / listed.name, into / listed.name
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(path)
        except OSError:
            if not copy(path, target, listed, lambda _: shared.check()).fits:
                raise SteadyPhiError(
                    f"{target}: differs from the file it was copied from; check the disk"
                ) from None

    def _has(self, listed: Listed) -> bool:
        path = self.files / listed.name
        return path.is_file() and path.stat().st_size == listed.size

    def _lacks(self, listed: Listed, commit: str) -> int:
        if self._has(listed):
            return 0
        cached = hf_cache.find(self.source, commit, listed)
        if cached and cached.stat().st_dev == self.files.stat().st_dev:
            return 0
        begun = partial(self.files, listed)
        return max(0, listed.size - (begun.stat().st_size if begun.exists() else 0))

    def _from_hf_cache(self, listed: Listed, commit: str, shared: Shared) -> str | None:
        cached, path = hf_cache.find(self.source, commit, listed), self.files / listed.name
        if cached is None:
            return None
        try:
            path.hardlink_to(cached)
            sha256 = verified(path, listed, shared.skip)
        except OSError:
            hasher = copy(cached, path, listed, shared.skip)
            sha256 = hasher.sha256 if hasher.fits else None
            if sha256 is None:
                shared.skip(-listed.size)
        if sha256 is None:
            path.unlink(missing_ok=True)
        return sha256
