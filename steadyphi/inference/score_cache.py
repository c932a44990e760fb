"""A cache of scores and texts on disk: an interrupted evaluation continues, a repeated one computes nothing.

A key is a digest of the model, of the dtype, device, instructions and code that compute, and of the exact
token ids of a whole batch. So no entry is used for another checkpoint, adapter or dtype, and none becomes
stale. The key covers the whole batch, because rounding depends on it. So a cached score equals a computed one
exactly.
"""

import hashlib
import json
import os
import sqlite3
import sys
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import xxhash

import steadyphi

TABLE = "create table if not exists batches (key blob primary key, value blob not null) without rowid"
# The modules that determine the numbers. If one of them changes, nothing in the cache is used any more.
PACKAGE = Path(steadyphi.__file__).parent
DECIDING = (
    "checkpoint/adapter.py",
    "checkpoint/adapter_format.py",
    "checkpoint/causes.py",
    "checkpoint/configs.py",
    "checkpoint/convert.py",
    "checkpoint/copying.py",
    "checkpoint/indexes.py",
    "checkpoint/layouts.py",
    "checkpoint/safetensors_file.py",
    "checkpoint/source.py",
    "checkpoint/tensors.py",
    "checkpoint/torch_pickle.py",
    "checkpoint/torch_zip.py",
    "data/packing.py",
    "inference/cache.py",
    "inference/compiled.py",
    "inference/contexts.py",
    "inference/generate.py",
    "inference/language_model.py",
    "inference/load.py",
    "inference/open_model.py",
    "inference/packed.py",
    "inference/quantized.py",
    "inference/sampling.py",
    "inference/scoring.py",
    "inference/text.py",
    "inference/tree.py",
    "model.py",
    "model_config.py",
    "pre_tokens.py",
    "runtime/device.py",
    "runtime/workers.py",
    "tokenizer.py",
)
Tokens = tuple[Sequence[int], Sequence[int]]  # the token ids of a context and its continuation
LOOK_UP = "select value from batches where key = ?"


class ScoreCache:
    """The scores and texts of one model in the file `path`, which models and processes share.

    model: a digest of the weights, and of the adapter merged into them (`digest_of`).
    If the file cannot be used, a warning is printed and nothing is cached, because the cache only saves time.
    """

    def __init__(self, path: Path, model: str, dtype: torch.dtype, device: torch.device) -> None:
        code = [_digest_of_code(PACKAGE / name) for name in DECIDING]
        instructions = [torch.backends.cpu.get_cpu_capability(), os.environ.get("MKL_CBWR", "")]
        facts = [model, str(dtype), device.type, torch.__version__, *instructions, *code]
        self._prefix = "\n".join(facts).encode()
        self._connection: sqlite3.Connection | None = None
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=60)
            # Both modes allow several processes, and survive a killed one. The first is faster, but needs
            # memory that all processes share, which those of several machines do not have.
            connection.execute(f"pragma journal_mode = {'wal' if _on_one_machine() else 'delete'}")
            connection.execute(TABLE)
            self._connection = connection
        except (OSError, sqlite3.Error) as error:
            self._fail(error)

    def get(self, requests: Sequence[Tokens]) -> list[float] | None:
        """Return the scores of these requests if they were computed in one batch, else None."""
        scores = self._look_up(self._key(requests))
        return None if scores is None else array("d", scores).tolist()

    def put(self, requests: Sequence[Tokens], scores: Sequence[float]) -> None:
        """Store the scores of requests that were computed in one batch."""
        self._keep(self._key(requests), array("d", scores).tobytes())

    def get_texts(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[tuple[str, int, bool]] | None:
        """Return what `put_texts` stored if the prompts were generated in one batch, else None."""
        texts = self._look_up(self._key([(prompt, ()) for prompt in prompts], max_new_tokens, stop))
        return None if texts is None else [(text, count, ended) for text, count, ended in json.loads(texts)]

    def put_texts(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        texts: Sequence[tuple[str, int, bool]],
        stop: Sequence[str] = (),
    ) -> None:
        """Store the texts of prompts that were generated in one batch.

        Each has its number of tokens, and whether it ended before the limit. stop: the strings that end one.
        """
        key = self._key([(prompt, ()) for prompt in prompts], max_new_tokens, stop)
        self._keep(key, json.dumps(texts).encode())

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

    def _key(self, pairs: Iterable[Tokens], max_new_tokens: int = 0, stop: Sequence[str] = ()) -> bytes:
        digest = hashlib.blake2b(self._prefix + max_new_tokens.to_bytes(8, "little"), digest_size=16)
        digest.update(json.dumps(list(stop)).encode())
        for context, continuation in pairs:
            digest.update(array("q", [len(context), len(continuation), *context, *continuation]).tobytes())
        return digest.digest()

    def _fail(self, error: Exception) -> None:
        print(
            f"warning: scores are not cached: {self._path}: {error}; if this happens again, delete the file",
            file=sys.stderr,
        )
        self.close()


def _on_one_machine() -> bool:
    """Return whether all processes of the run are on this machine (torchrun's variables)."""
    world = os.environ.get("WORLD_SIZE", "1")
    return os.environ.get("LOCAL_WORLD_SIZE", world if world == "1" else "") == world


def _digest_of_code(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def digest_of(folders: Iterable[Path]) -> str:
    """Return a digest of all files with weights or settings in these folders; it identifies the model."""
    digest = hashlib.blake2b(digest_size=16)
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix in (".pth", ".safetensors", ".json", ".yaml"):
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
                digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()
