"""The base of an adapter: recorded beside an exported adapter, and compared before the adapter is used."""

from pathlib import Path
from typing import Any

from steadyphi.checkpoint import copying, layouts, manifest
from steadyphi.checkpoint.convert import source_runs
from steadyphi.checkpoint.source import Checkpoint
from steadyphi.errors import SteadyPhiError
from steadyphi.progress import Progress

KEY = "base_digest"  # in the manifest of an exported adapter; peft warns of new keys in its own file


def check(adapter: Path, base: Checkpoint) -> None:
    """Raise SteadyPhiError if the manifest of an adapter has the digest of other weights than `base`'s.

    The layout of the base does not matter. An adapter without such a record is not checked.
    """
    content = manifest.read(adapter)
    if KEY not in content or content[KEY] == digest(base):
        return
    origin = manifest.origin(adapter, "another base")
    revision = f" at {origin['revision']}" if origin["revision"] else ""
    raise SteadyPhiError(
        f"{adapter}: was trained on {origin['source']}{revision}, but {base.folder} has other weights or "
        f"another dtype; give that base with --base, or remove {KEY} from {adapter / manifest.NAME} to use "
        "the adapter on this one"
    )


def digest(base: Checkpoint) -> str | None:
    """Return the digest of the weights, which is the same in every layout; None if their dtypes differ.

    It is that of the manifest, if the files have the sizes that the manifest lists. Otherwise the weights are
    read.
    """
    content = manifest.read(base.folder)
    files, recorded = content.get("files"), content.get("digest")
    if isinstance(recorded, str) and isinstance(files, dict) and _has(base.folder, files):
        return recorded
    if base.mixture():
        return None
    parts = source_runs(base)
    progress = Progress("digest", sum(run.nbytes for runs in parts.values() for run in runs), "B")
    digests = copying.digest(parts, progress.add).digests
    progress.close()
    return str(manifest.content(base.dtype, layouts.part_shapes(base.config), digests)["digest"])


def _has(folder: Path, files: dict[str, Any]) -> bool:
    """Return whether a folder has these files, which a manifest lists, in their sizes."""
    paths = {folder / name: entry for name, entry in files.items()}
    return bool(paths) and all(
        path.is_file() and isinstance(entry, dict) and path.stat().st_size == entry.get("size")
        for path, entry in paths.items()
    )
