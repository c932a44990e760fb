"""The manifest of a checkpoint folder, with the size and digest of each file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from steadyphi.errors import printable
from steadyphi.files import read_object, sha256, write_json

NAME = "manifest.json"


def make(folder: Path, hashes: Mapping[str, str] | None = None, **facts: Any) -> dict[str, Any]:
    """Return a manifest with `facts` and the size and SHA-256 of every file.

    hashes: the SHA-256 of files that were hashed during the download. The other files are read.
    """
    known = hashes or {}
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NAME):
        name = path.relative_to(folder).as_posix()
        files[name] = {"size": path.stat().st_size, "sha256": known.get(name) or sha256(path)}
    return {**facts, "files": files}


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest to its folder."""
    write_json(folder / NAME, manifest)


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder. Empty if there is none, as in folders written by other tools."""
    try:
        return read_object(folder / NAME, "a manifest", "delete it to continue without a manifest")
    except FileNotFoundError:
        return {}


def origin(folder: Path, default: str) -> dict[str, Any]:
    """Return the `source`, else `default`, and the `revision` that the manifest of a folder states."""
    stated = {key: value for key, value in read(folder).items() if isinstance(value, str)}
    return {"source": stated.get("source", printable(default)), "revision": stated.get("revision")}


def content(dtype: str, shapes: Mapping[str, tuple[int, ...]], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return a digest of the weights that does not depend on the layout or the number of files.

    shapes, digests: the shape and digest of each part of the model, by its current name on the Hub. The
        digest is the XXH3-128 of the bytes of the part in row-major order.
    returns: `parts`, and `digest`, which is the XXH3-128 of a text with one line per part.
    """
    lines = [f"{name} {dtype} {list(shapes[name])} {digests[name]}\n" for name in sorted(shapes)]
    return {
        "digest": "xxh3_128:" + xxhash.xxh3_128("".join(lines).encode()).hexdigest(),
        "parts": {name: {"shape": list(shapes[name]), "xxh3_128": digests[name]} for name in shapes},
    }
