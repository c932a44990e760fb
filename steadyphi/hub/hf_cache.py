"""Reads the local cache of huggingface_hub.

A snapshot has links to blobs, which are named by their digest. On Windows, or in a copy whose links were
followed, it has regular files.
"""

import re
from pathlib import Path

from huggingface_hub import constants

from steadyphi.hub.listing import Kind, Listed, Listing, top_folder


def folder(source: str) -> Path:
    """Return the path of the repository in the cache, which may not exist."""
    # Imported here because it loads the HTTP client, which a folder does not need.
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=source, repo_type="model")


def find(source: str, commit: str, listed: Listed) -> Path | None:
    """Return the cached file, or None if it is missing or has another size. Its digest is not checked.

    It is the blob named by the listed digest, or else the regular file in the snapshot of the commit.
    """
    paths = [folder(source) / "snapshots" / commit / listed.name]
    if listed.digest:
        paths.insert(0, folder(source) / "blobs" / listed.digest)
    for path in paths:
        if path.is_file() and path.stat().st_size == listed.size:
            return path.resolve()
    return None


def listing(source: str, revision: str | None) -> Listing | None:
    """Return the cached files of a commit or of a branch's cached commit, or None if there are none."""
    name = revision or constants.DEFAULT_REVISION
    if not re.fullmatch("[0-9a-f]{40}", name):
        try:
            name = (folder(source) / "refs" / name).read_text(encoding="utf-8").strip()
        except OSError:
            return None
    snapshot = folder(source) / "snapshots" / name
    if not snapshot.is_dir():
        return None
    files = [
        from_link(path) or Listed(path.name, path.stat().st_size, "none", "")
        for path in sorted(snapshot.iterdir())
        if path.is_file()
    ]
    return Listing(source, name, top_folder(source, files))


def from_link(path: Path) -> Listed | None:
    """Return the listing of a file from its link into the cache's blobs, or None for anything else."""
    if not path.is_symlink() or not path.is_file():
        return None
    target = path.readlink()
    kind = digest_kind(target.name)
    if target.parent.name != "blobs" or kind == "none":
        return None
    return Listed(path.name, path.stat().st_size, kind, target.name)


def digest_kind(text: str) -> Kind:
    """Distinguish a SHA-256 from a git blob id by its length."""
    if not re.fullmatch("[0-9a-f]+", text):
        return "none"
    return "sha256" if len(text) == 64 else "git" if len(text) == 40 else "none"
