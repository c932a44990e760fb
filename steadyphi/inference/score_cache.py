"""Scores and texts on disk: an interrupted evaluation goes on where it was, a repeated one computes nothing.

A key is a digest of the model, the way it computes, and the exact token ids of all that was computed
together; so another checkpoint, adapter or type finds none, nothing here is ever stale, and since rounding
depends on the batch, what is found is to the last digit what would be computed.
"""

import hashlib
import json
import sqlite3
import sys
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import xxhash

if TYPE_CHECKING:
    from steadyphi.inference.scoring import Request

TABLE = "create table if not exists batches (key blob primary key, value blob not null) without rowid"
# Other code gives other scores: that of the model, of where its numbers lie in the files, of adapters
# merged into it, and all of this folder's.
HERE = Path(__file__).parent
WEIGHTS = [
    "adapter",
    "convert",
    "copying",
    "indexes",
    "layouts",
    "safetensors_file",
    "source",
    "torch_pickle",
    "torch_zip",
]
CODE = [HERE.parent / "model.py", *(HERE.parent / "checkpoint" / f"{name}.py" for name in WEIGHTS)]
CODE += sorted(HERE.glob("*.py"))
LOOK_UP = "select value from batches where key = ?"


class ScoreCache:
    """The scores of one model in the file `path`, which models and processes share.

    model: a digest of its weights, and of the adapter merged into them.
    A file that cannot be used is said in one line, and then there is no cache: it saves time, no more.
    """

    def __init__(self, path: Path, model: str, dtype: torch.dtype, device: torch.device) -> None:
        facts = [model, str(dtype), device.type, torch.__version__, *map(_digest_of_code, CODE)]
        self._prefix = "\n".join(facts).encode()
        self._connection: sqlite3.Connection | None = None
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=60)
            connection.execute("pragma journal_mode = wal")  # several processes at once; safe when killed
            connection.execute(TABLE)
            self._connection = connection
        except (OSError, sqlite3.Error) as error:
            self._fail(error)

    def get(self, requests: Sequence["Request"]) -> list[float] | None:
        """Return the scores of these requests if they were computed together, else None."""
        found = self._look_up(self._key([(r.context, r.continuation) for r in requests]))
        return None if found is None else array("d", found).tolist()

    def put(self, requests: Sequence["Request"], scores: Sequence[float]) -> None:
        """Keep the scores of requests that were computed together."""
        key = self._key([(r.context, r.continuation) for r in requests])
        self._keep(key, array("d", scores).tobytes())

    def get_texts(self, prompts: Sequence[Sequence[int]], most: int) -> list[tuple[str, int]] | None:
        """Return what was written after these prompts together, in at most so many tokens, and how many."""
        found = self._look_up(self._key([(prompt, ()) for prompt in prompts], most))
        return None if found is None else [(text, count) for text, count in json.loads(found)]

    def put_texts(
        self, prompts: Sequence[Sequence[int]], most: int, texts: Sequence[tuple[str, int]]
    ) -> None:
        """Keep texts as `put` keeps scores."""
        self._keep(self._key([(prompt, ()) for prompt in prompts], most), json.dumps(texts).encode())

    def _look_up(self, key: bytes) -> bytes | None:
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(LOOK_UP, (key,)).fetchone()
        except sqlite3.Error as error:
            self._fail(error)
            return None
        return None if row is None else bytes(row[0])

    def _keep(self, key: bytes, value: bytes) -> None:
        if self._connection is None:
            return
        try:
            with self._connection:
                self._connection.execute("insert or replace into batches values (?, ?)", (key, value))
        except sqlite3.Error as error:
            self._fail(error)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _key(self, pairs: Iterable[tuple[Sequence[int], Sequence[int]]], most: int = 0) -> bytes:
        digest = hashlib.blake2b(self._prefix + most.to_bytes(8, "little"), digest_size=16)
        for context, continuation in pairs:
            digest.update(array("q", [len(context), len(continuation), *context, *continuation]).tobytes())
        return digest.digest()

    def _fail(self, error: Exception) -> None:
        print(
            f"warning: scores are not kept: {self._path}: {error}; if this stays, remove it", file=sys.stderr
        )
        self.close()


def _digest_of_code(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def digest_of(folders: Iterable[Path]) -> str:
    """Return a digest of all weights and settings in these folders, byte for byte: a model's name here."""
    digest = hashlib.blake2b(digest_size=16)
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix in (".pth", ".safetensors", ".json", ".yaml"):
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
                digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()
