"""The files of a source: the name, size and digest of each, and which of them a Phi needs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from steadyphi.checkpoint.indexes import hint
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object, write_json

Kind = Literal["sha256", "git", "none"]
# The first of these kinds that exists is used, together with its index or config.
WEIGHTS = {
    "safetensors": ("model*.safetensors", "model.safetensors.index.json"),
    ".bin": ("pytorch_model*.bin", "pytorch_model.bin.index.json"),
    "lit-gpt": ("lit_model.pth", "model_config.yaml"),
}
# Settings, tokenizer and licence. Never code.
BESIDES = ("*.json", "merges.txt", "LICENSE*", "NOTICE*")


@dataclass(frozen=True)
class Listed:
    """A file as its source lists it.

    kind: `sha256` (Git LFS), `git` (a git blob id) or `none`, if the digest is unknown.
    digest: hexadecimal; empty for `none`.
    """

    name: str
    size: int
    kind: Kind
    digest: str

    def __post_init__(self) -> None:
        digits = {"sha256": 64, "git": 40, "none": 0}[self.kind]
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", self.digest) or self.size < 0:
            raise ValueError(f"{self.name}: not a {self.kind} digest: {self.digest!r}, size {self.size}")


@dataclass(frozen=True)
class Listing:
    """The files in the top folder of a repository at one commit."""

    source: str
    commit: str
    files: dict[str, Listed]

    def save(self, path: Path) -> None:
        """Write the listing as JSON, for a later fetch without the network."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Listing | None":
        """Read a listing that `save` wrote. Return None if it is missing or unreadable."""
        try:
            values = read_object(path)
            files = top_folder(values["source"], (Listed(**f) for f in values["files"].values()))
            return cls(str(values["source"]), str(values["commit"]), files)
        except (OSError, SteadyPhiError, ValueError, TypeError, KeyError, AttributeError):
            return None


def check_name(source: str, name: str) -> None:
    """Raise SteadyPhiError for a file name that leads outside the folder, on Unix or on Windows."""
    bad = (
        not name
        or name.startswith("/")
        or re.search(r"[\\\x00\ud800-\udfff]", name)
        or any(part in (".", "..") or part[1:2] == ":" for part in name.split("/"))
    )
    if bad:
        raise SteadyPhiError(
            f"{source}: lists a file named {name!r}, which could lie outside its folder or cannot be written"
        )


def top_folder(source: str, files: Iterable[Listed]) -> dict[str, Listed]:
    """Return the files of the top folder by name. Raises SteadyPhiError for a name that leads outside."""
    by_name = {}
    for file in files:
        check_name(source, file.name)
        if "/" not in file.name:
            by_name[file.name] = file
    return by_name


def choose(
    source: str, files: Mapping[str, Listed], from_safetensors: bool | None, *, local: bool
) -> dict[str, Listed]:
    """Return the files that are needed: the weights of one kind, the settings, tokenizer and licence.

    from_safetensors: None prefers safetensors to .bin. True requires safetensors, False requires .bin.
    local: a folder may also contain a lit-gpt checkpoint, which is the last choice.
    Raises SteadyPhiError if there are no weights of the requested kind.
    """
    there = [
        kind
        for kind, (weights, _) in WEIGHTS.items()
        if (local or kind != "lit-gpt") and any(fnmatchcase(name, weights) for name in files)
    ]
    requested = {None: list(WEIGHTS), True: ["safetensors"], False: [".bin"]}[from_safetensors]
    kind = next((kind for kind in requested if kind in there), None)
    if not there and (cause := hint(files, source)):
        raise SteadyPhiError(cause)
    if kind is None and from_safetensors is None:
        kinds = " nor ".join(("safetensors", ".bin", "lit_model.pth")[: 3 if local else 2])
        raise SteadyPhiError(f"{source}: has no weights, neither {kinds}")
    if kind is None:
        has = f"has only {' and '.join(there)} weights" if there else "has no weights"
        setting = f"fetch.from_safetensors: {str(from_safetensors).lower()}"
        raise SteadyPhiError(f"{source}: {has}, but {setting} requires {requested[0]}")
    indices = [index for _, index in WEIGHTS.values()]

    def needed(name: str) -> bool:
        if not name.isprintable():
            return False
        if any(fnmatchcase(name, pattern) for pattern in WEIGHTS[kind]):
            return True
        other = name in indices or name.endswith(".index.json") or name == "manifest.json"
        return not other and any(fnmatchcase(name, p) for p in BESIDES)

    return {name: file for name, file in sorted(files.items()) if needed(name)}
