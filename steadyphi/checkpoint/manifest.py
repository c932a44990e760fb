"""The manifest of a checkpoint folder: which files there are, how large, with which digest."""

import json
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError
from steadyphi.files import sha256, write_json

NAME = "manifest.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def weight_map(folder: Path) -> dict[str, str]:
    """Return tensor name -> file name as the folder's index says; for a single file all map to it.

    Raises SteadyPhiError when there are no safetensors, the index is not readable, or it names a
    file outside the folder or one that is not there.
    """
    index = folder / INDEX
    if not index.exists():
        if not (folder / SINGLE).exists():
            raise SteadyPhiError(f"{folder}: neither {INDEX} nor {SINGLE} is there; nothing to convert")
        return dict.fromkeys(_header_names(folder / SINGLE), SINGLE)
    try:
        names: dict[str, str] = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise SteadyPhiError(f"{index}: is not a weight index ({type(error).__name__}: {error})") from None
    for file in names.values():
        if not isinstance(file, str) or file in ("", ".", "..") or Path(file).name != file:
            raise SteadyPhiError(f"{index}: weight_map: {file!r} is not the name of a file in the folder")
    for file in sorted(set(names.values())):
        if not (folder / file).is_file():
            raise SteadyPhiError(f"{folder / file}: is named by {INDEX} but not there; fetch it again")
    return names


def make(folder: Path, **facts: Any) -> dict[str, Any]:
    """Return a manifest: `facts` and the size and SHA-256 of every file; the weights must be complete."""
    weight_map(folder)
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME
    }
    return {**facts, "files": files}


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into its folder."""
    write_json(folder / NAME, manifest)


def read(folder: Path) -> dict[str, Any]:
    """Read the manifest of a fetched folder; SteadyPhiError when it is absent or broken."""
    path = folder / NAME
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        return {key: found[key] for key in ("source", "revision", "files")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SteadyPhiError(f"{path}: cannot be read ({error}); run the fetch stage again") from None


def _header_names(path: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise SteadyPhiError(f"{path}: is not a whole safetensors file ({error}); fetch it again") from None
