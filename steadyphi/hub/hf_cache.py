"""huggingface_hub's own cache on this machine, whose blobs are named by their digest."""

import re
from pathlib import Path

from huggingface_hub import constants

from steadyphi.hub.listing import Kind, Listed, Listing, top_folder


def folder(source: str) -> Path:
    """Return where the library keeps the repository, whether or not it does."""
    from huggingface_hub.file_download import repo_folder_name  # loads the HTTP client; a folder needs none

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=source, repo_type="model")


def blob(source: str, listed: Listed) -> Path | None:
    """Return the file with the listed digest, by its name alone; None where there is none of its size."""
    path = folder(source) / "blobs" / listed.digest
    try:
        return path.resolve() if path.stat().st_size == listed.size else None
    except OSError:
        return None


def listing(source: str, revision: str | None) -> Listing | None:
    """Return what the cache has of a commit, or of what a branch was then; None where it has nothing."""
    name = revision or constants.DEFAULT_REVISION
    if not re.fullmatch("[0-9a-f]{40}", name):
        try:
            name = (folder(source) / "refs" / name).read_text(encoding="utf-8").strip()
        except OSError:
            return None
    snapshot = folder(source) / "snapshots" / name
    if not snapshot.is_dir():
        return None
    found = [listed for path in sorted(snapshot.iterdir()) if (listed := from_link(path))]
    return Listing(source, name, top_folder(source, found))


def from_link(path: Path) -> Listed | None:
    """Return what a link into the cache's blobs says of its file; None for anything else."""
    if not path.is_symlink() or not path.is_file():
        return None
    target = path.readlink()
    kind = digest_kind(target.name)
    if target.parent.name != "blobs" or kind == "none":
        return None
    return Listed(path.name, path.stat().st_size, kind, target.name)


def digest_kind(text: str) -> Kind:
    """Tell a SHA-256 from a git blob id by its length."""
    if not re.fullmatch("[0-9a-f]+", text):
        return "none"
    return "sha256" if len(text) == 64 else "git" if len(text) == 40 else "none"
