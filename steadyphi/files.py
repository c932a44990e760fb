"""Reading with limits, and atomic writes.

Whatever a JSON or YAML file contains, reading it ends soon, in little memory, with a plain value or with one
line. A kill at any moment of a write leaves the old file or the new file, never a partial file.
"""

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from steadyphi.errors import SteadyPhiError

MOST_BYTES = 64 << 20  # of a file that is read whole; tokenizer.json of Phi-2 has 2 MB
MOST_YAML = 128 << 10  # bytes of a YAML file, which PyYAML reads slowly; ours have a few thousand
MOST_VALUES = 2_000_000  # values in a JSON or YAML file; tokenizer.json of Phi-2 has 150,000
MOST_DEPTH = 64  # levels of nesting
MOST_BITS = 128  # of an integer; transformers writes 10**30 for an unlimited length


def open_file(path: Path) -> tuple[BinaryIO, int]:
    """Open a regular file for reading, and return it with its size.

    Raises OSError as `open` does, and SteadyPhiError for a named pipe or a device, which could block.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # O_NONBLOCK, because opening a pipe would wait
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        os.close(fd)
        kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe or a device"
        raise SteadyPhiError(f"{path}: is {kind}, not a file; remove it")
    return os.fdopen(fd, "rb"), facts.st_size


def check_copyable(path: Path) -> None:
    """Raise SteadyPhiError unless a file is a regular file in its folder, or a link into a cache.

    A link in a folder that somebody else made may lead to a private file. The files in the caches of
    huggingface_hub and DVC are named by their digest.
    """
    target = path.resolve()
    digest = re.fullmatch("[0-9a-f]{30,64}", target.name)
    if path.is_symlink() and not digest and not target.is_relative_to(path.parent.resolve()):
        raise SteadyPhiError(f"{path}: is a link to {target}, outside its folder; copy the file")
    if not path.is_file():
        raise SteadyPhiError(f"{path}: is not a regular file; remove it")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file. Raises as `open_file` does, and SteadyPhiError if it is too large."""
    file, _ = open_file(path)
    with file:
        data = file.read(most + 1)
    if len(data) > most:
        raise SteadyPhiError(f"{path}: has more than {most:,} bytes, too many for this file")
    return data


def read_object(
    path: Path, kind: str = "settings", advice: str = "", *, finite: bool = True
) -> dict[str, Any]:
    """Return the object in a JSON or YAML file, as `parse_object` does. Raises OSError as `open` does."""
    return parse_object(read_bytes(path), path, kind, advice, finite=finite)


def parse_object(
    data: bytes, path: Path, kind: str = "settings", advice: str = "", *, finite: bool = True
) -> dict[str, Any]:
    """Return the object in the bytes of a JSON or YAML file.

    path: its suffix selects YAML or JSON, and the error message names it.
    kind, advice: what the file should be and what to do if it is not, for the error message.
    finite: whether NaN and infinite numbers are refused. Results of ours may have NaN, where a measure has no
        interval.
    Raises SteadyPhiError for any other content, more than `MOST_VALUES` values or `MOST_DEPTH` levels, a
    duplicate key in JSON, an alias in YAML, and a value that other tools do not read: an integer of more than
    `MOST_BITS`, half a character, a key that is not text.
    """
    try:
        value = _yaml(data) if path.suffix in (".yaml", ".yml") else _json(data)
        if not isinstance(value, dict):
            raise ValueError("it is not a mapping of keys to values")
        _check_plain(value, finite)
    except Exception as error:  # whatever a parser raises, such as RecursionError or OverflowError
        then = f"; {advice}" if advice else ""
        raise SteadyPhiError(f"{path}: cannot be read as {kind} ({_reason(error)}){then}") from None
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"nested more than {MOST_DEPTH} levels deep"
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    reason = f"line {mark.line + 1}: {problem}" if mark and problem else str(error)  # of YAML, or of another
    return " ".join(reason.split())[:300] or type(error).__name__


def _json(data: bytes) -> Any:
    # Each value in a list or an object is preceded by one of these, so this is a cheap upper bound.
    if sum(map(data.count, (b"[", b"{", b",", b":"))) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values")
    return json.loads(data.decode("utf-8"), object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"it has the duplicate key {twice!r}")
    return values


def _yaml(data: bytes) -> Any:
    import yaml

    text = data.decode("utf-8")
    check_yaml(text)
    return yaml.safe_load(text)


def check_yaml(text: str) -> None:
    """Raise ValueError for a YAML text that is too large or has aliases (`*name`), before it is loaded.

    A few lines of nested aliases can expand to gigabytes. Raises YAMLError for a text that is not YAML.
    """
    import yaml

    if len(text) > MOST_YAML:
        raise ValueError(f"has more than {MOST_YAML:,} characters, too many for a settings file")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line = f"line {event.start_mark.line + 1}: " if event.start_mark else ""
            raise ValueError(f"{line}*{event.anchor} repeats a value; write the value itself")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"nested more than {MOST_DEPTH} levels deep")


def _check_plain(top: dict[str, Any], finite: bool) -> None:
    """Raise ValueError unless a value has the types and sizes that JSON can represent everywhere."""
    level: list[Any] = [top]
    for _ in range(MOST_DEPTH):
        below: list[Any] = []
        for outer in level:
            for key in outer if isinstance(outer, dict) else ():
                if not isinstance(key, str) or _problem(key, finite):
                    raise ValueError(f"the key {key!r} is not text")
            for key, value in outer.items() if isinstance(outer, dict) else enumerate(outer):
                if isinstance(value, dict | list):
                    below.append(value)
                elif problem := _problem(value, finite):
                    raise ValueError(f"{key}: {problem}")
        level = below
        if not level:
            return
    raise ValueError(f"nested more than {MOST_DEPTH} levels deep")


def _problem(value: Any, finite: bool) -> str | None:
    if isinstance(value, str):
        half = not value.isascii() and value != value.encode(errors="replace").decode()
        return "a text has half a character (a lone surrogate)" if half else None
    if isinstance(value, int):
        return None if value.bit_length() <= MOST_BITS else f"an integer has more than {MOST_BITS} bits"
    if isinstance(value, float):
        return "a number is NaN or infinite" if finite and not math.isfinite(value) else None
    return None if value is None else f"a value is of the type {type(value).__name__}"


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`. It replaces `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(fd)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp creates files with mode 0600
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`. It replaces `path` when the block succeeds.

    A folder cannot be renamed over a non-empty folder, so the old folder is removed first. A kill
    between the two steps leaves `path` absent, never with mixed contents. Temporary folders left by
    an earlier kill are also removed, so only one process at a time may write to `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp creates folders with mode 0700
        for file in temporary.rglob("*"):
            fsync(file)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
        fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8 with Unix line endings."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON. The order of the keys is kept."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows atomically as CSV.

    The keys of the first row are the header. Floats are rounded to six decimals.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
    write_text(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file. All values are text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
