"""A folder as a source: finds the recorded digests of its files, and copies the files."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError
from steadyphi.files import check_copyable, read_object
from steadyphi.hub import hf_cache
from steadyphi.hub.digests import copy
from steadyphi.hub.listing import BESIDES, Listed
from steadyphi.hub.threads import Shared

MANIFEST = "manifest.json"


def listing(folder: Path) -> dict[str, Listed]:
    """Return the files in the folder with their recorded digests.

    A digest comes from our manifest, from a link into huggingface_hub's cache, or from the metadata
    that `hf download --local-dir` writes for each file. If there is no digest, the kind is `none`.
    Raises SteadyPhiError if the manifest names a file that does not exist.
    """
    known = _from_manifest(folder / MANIFEST)
    files = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.exists():
            raise SteadyPhiError(f"{path}: is a link to {path.readlink()}, which does not exist")
        if path.is_symlink() and any(fnmatchcase(path.name, pattern) for pattern in BESIDES):
            check_copyable(path)  # weights may be elsewhere, because their content is checked
        if path.is_file():
            size = path.stat().st_size
            listed = known.pop(path.name, None) or hf_cache.from_link(path) or _from_note(path)
            files[path.name] = listed or Listed(path.name, size, "none", "")
    for name in (name for name in known if not (folder / name).is_file()):
        raise SteadyPhiError(
            f"{folder / name}: is listed in {MANIFEST} but does not exist; create the folder again"
        )
    return files


def bring(folder: Path, listed: Listed, into: Path, shared: Shared) -> str:
    """Copy a file and return its SHA-256. Raises SteadyPhiError if it does not match its listing.

    If the file is a link, its target is copied, so that later changes to the source do not affect the copy.
    """
    path, target = folder / listed.name, into / listed.name
    target.unlink(missing_ok=True)
    size = path.stat().st_size
    hasher = copy(path, target, listed, shared.add) if size == listed.size else None
    if not hasher or not hasher.fits or target.stat().st_size != listed.size:
        target.unlink(missing_ok=True)
        if size == listed.size and listed.kind == "none":
            raise SteadyPhiError(f"{path}: changed while it was copied; run it again")
        what = "size" if size != listed.size else "digest"
        raise SteadyPhiError(
            f"{path}: has a different {what} than {_recorded(path)} says; get it again{_or_else(path)}"
        )
    return hasher.sha256


def _note(path: Path) -> Path:
    return path.parent / ".cache" / "huggingface" / "download" / f"{path.name}.metadata"


def _from_note(path: Path) -> Listed | None:
    """Return the listing from the metadata of `hf download --local-dir`. Line 2 has the ETag (the digest)."""
    try:
        digest = _note(path).read_text(encoding="utf-8").splitlines()[1].strip()
    except (OSError, IndexError, UnicodeDecodeError):
        return None
    kind = hf_cache.digest_kind(digest)
    return Listed(path.name, path.stat().st_size, kind, digest) if kind != "none" else None


def _from_manifest(path: Path) -> dict[str, Listed]:
    """Return the files in our manifest. They have digests if it was fetched, but not if it was converted."""
    try:
        contents = read_object(path, "a manifest", "delete the file")
        return {name: _recorded_as(name, facts) for name, facts in contents.get("files", {}).items()}
    except FileNotFoundError:
        pass
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SteadyPhiError(f"{path}: is not a manifest ({error}); delete the file") from None
    return {}


def _recorded_as(name: str, facts: Mapping[str, Any]) -> Listed:
    sha256 = str(facts.get("sha256", ""))
    return Listed(name, int(facts["size"]), "sha256" if sha256 else "none", sha256)


def _recorded(path: Path) -> str:
    if path.name in _from_manifest(path.with_name(MANIFEST)):
        return MANIFEST
    return "its name in huggingface_hub's cache" if hf_cache.from_link(path) else str(_note(path))


def _or_else(path: Path) -> str:
    return "" if path.is_symlink() else ", or delete that file if you changed this one on purpose"
