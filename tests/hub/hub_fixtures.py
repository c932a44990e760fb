"""A Hub on the loopback with a small checkpoint, and this process made ready to fetch from it."""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from steadyphi.hub import retries
from steadyphi.hub.fetch import fetch
from tests.pipeline.loopback_hub import Faults, LoopbackHub, start

REPO, COMMIT = "microsoft/phi-2", "ef382358ec9e382308935a992d908de099b64c23"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
NEEDED = {*SHARDS, "model.safetensors.index.json", "config.json", "tokenizer.json", "merges.txt", "LICENSE"}


@dataclass
class Client:
    """Fetches into folders below `base`, the cache kept from one time to the next."""

    base: Path
    hub: LoopbackHub

    @property
    def cache(self) -> Path:
        return self.base / "cache"

    @property
    def weights(self) -> Path:
        return self.base / "weights"

    def fetch(self, **changes: Any) -> dict[str, Any]:
        for path in self.weights.glob("*"):
            path.unlink()
        self.weights.mkdir(exist_ok=True)
        arguments = {"source": REPO, "revision": COMMIT, "into": self.weights, "cache": self.cache}
        return fetch(**(arguments | changes))

    def whole(self) -> bool:
        """Whether all that is needed has arrived, byte for byte."""
        assert {p.name for p in self.weights.iterdir()} == NEEDED
        return all(
            (self.weights / name).read_bytes() == (self.hub.folder / name).read_bytes() for name in NEEDED
        )


def make_checkpoint(folder: Path, sizes: tuple[int, int] = (300_000, 100_000)) -> Path:
    """Write the files of a sharded checkpoint, random inside, with what nobody needs beside them."""
    folder.mkdir()
    content = random.Random(5)
    for name, size in zip(SHARDS, sizes, strict=True):
        (folder / name).write_bytes(content.randbytes(size))
    index = {"weight_map": {f"tensor.{i}": name for i, name in enumerate(SHARDS)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"model_type": "phi"}')
    (folder / "tokenizer.json").write_bytes(content.randbytes(70_000))
    (folder / "merges.txt").write_text("a b\n")
    (folder / "LICENSE").write_text("MIT\n")
    for name in ("README.md", "modeling_phi.py", "flax_model.msgpack.index.json", "manifest.json"):
        (folder / name).write_text("{}")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"other")
    return folder


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process with a network and no login; waiting is short."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # it asks the Hub for a list
    monkeypatch.setattr(retries, "RETRY", retries.Retry(wait=0.01, longest=0.05, total=0.5))


@pytest.fixture
def client(online: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of a Hub whose faults a test can set."""
    with start(make_checkpoint(tmp_path / "hub"), (REPO, COMMIT), faults=Faults()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield Client(tmp_path, server)


def environment(client: Client) -> dict[str, str]:
    """Return the environment of a process that fetches from the client's Hub."""
    return os.environ | {
        "HF_ENDPOINT": client.hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(client.base / "home"),
    }
