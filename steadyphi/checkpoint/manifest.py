"""The manifest of a checkpoint folder: which files there are, how large, with which digest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from steadyphi.errors import SteadyPhiError
from steadyphi.files import sha256, write_json

NAME = "manifest.json"


def make(folder: Path, hashes: Mapping[str, str] | None = None, **facts: Any) -> dict[str, Any]:
    """Return a manifest: `facts` and the size and SHA-256 of every file.

    hashes: the SHA-256 of files that were hashed as they came; the others are read.
    """
    known = hashes or {}
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NAME):
        name = path.relative_to(folder).as_posix()
        files[name] = {"size": path.stat().st_size, "sha256": known.get(name) or sha256(path)}
    return {**facts, "files": files}


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into its folder."""
    write_json(folder / NAME, manifest)


def read(folder: Path) -> dict[str, Any]:
    """Return what a folder's manifest says; empty where it has none, as other tools' folders have not."""
    try:
        return dict(json.loads((folder / NAME).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise SteadyPhiError(f"{folder / NAME}: is no manifest ({error}); delete it to go without") from None


def content(dtype: str, shapes: Mapping[str, tuple[int, ...]], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return what says which numbers a checkpoint has, in whatever layout and however many files.

    shapes, digests: of each part of the model, by the name that it has today on the Hub; the digest
    is XXH3-128 of its bytes, row after row. The digest of the whole is XXH3-128 of a line for each part.
    """
    lines = [f"{name} {dtype} {list(shapes[name])} {digests[name]}\n" for name in sorted(shapes)]
    return {
        "digest": "xxh3_128:" + xxhash.xxh3_128("".join(lines).encode()).hexdigest(),
        "parts": {name: {"shape": list(shapes[name]), "xxh3_128": digests[name]} for name in shapes},
    }
