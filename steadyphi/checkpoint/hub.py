"""Where weights come from: a folder, or a repository on the Hugging Face Hub at a pinned commit."""

import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from steadyphi.checkpoint import manifest
from steadyphi.errors import SteadyPhiError

# What a Phi needs: weights, settings, tokenizer, licence. Never code, never pickles.
PATTERNS = ["*.safetensors", "*.json", "merges.txt", "LICENSE*", "NOTICE*"]


def fetch(source: str, revision: str | None, into: Path, cache: Path) -> dict[str, Any]:
    """Bring the repository `source` into the folder `into`, verify it, and return its manifest.

    source: an existing folder, or a Hub id such as `microsoft/phi-2`, then with a `revision`.
    cache: where partial downloads stay, so that an interrupted download goes on.
    Raises SteadyPhiError when files are missing, differ from what the Hub says of them, or cannot
    be fetched.
    """
    if Path(source).is_dir():
        for path in sorted(Path(source).iterdir()):
            if path.is_file() and _is_wanted(path.name):
                shutil.copyfile(path, into / path.name)
        expected: Mapping[str, str] = {}
    else:
        folder, expected = _download(source, revision, cache)
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            _place(path, into / path.name)
    made = manifest.make(into, source=source, revision=revision)
    for name, digest in expected.items():
        if made["files"][name]["sha256"] != digest:
            (cache / "files" / name).unlink(missing_ok=True)  # so that the next try fetches it anew
            raise SteadyPhiError(
                f"{source}: {name} is not the file that the Hub lists (SHA-256 differs); try again"
            )
    return made


def _download(source: str, revision: str | None, cache: Path) -> tuple[Path, Mapping[str, str]]:
    """Download through huggingface_hub; return the folder and the SHA-256 of its large files."""
    from huggingface_hub import HfApi, snapshot_download

    folder = cache / "files"
    try:
        info = HfApi().model_info(source, revision=revision, files_metadata=True)
        wanted = [s for s in info.siblings or [] if _is_wanted(s.rfilename)]
        names = [s.rfilename for s in wanted]
        snapshot_download(source, revision=revision, local_dir=folder, allow_patterns=names)
    except Exception as error:  # its HTTP client's exceptions come through as they are, of many kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SteadyPhiError(f"{source} at {revision}: could not be fetched: {first}") from None
    return folder, {s.rfilename: s.lfs.sha256 for s in wanted if s.lfs is not None}


def _is_wanted(name: str) -> bool:
    """Whether a file of the repository's top folder is needed; what lies deeper is another format."""
    return "/" not in name and any(fnmatchcase(name, pattern) for pattern in PATTERNS)


def _place(source: Path, target: Path) -> None:
    """Link where the file system can, for weights are gigabytes; copy where it cannot."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
