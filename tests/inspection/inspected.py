"""What the tests of `steadyphi inspect` share."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors.torch import load_file, save_file

from steadyphi.inspection import page
from tests.checkpoint import by_hand
from tests.hub.hub_fixtures import SHARDS

H, INNER, VOCAB, LAYERS = 160, 640, 1280, 2  # the shape of by_hand's Phi


@functools.cache
def random_state() -> by_hand.State:
    """The tensors of one random Phi for all these tests, which copy before they change them."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: tensor.clone() for name, tensor in by_hand.random_state(Path(folder)).items()}


def make_shards(path: Path) -> Path:
    """Write a checkpoint as on the Hub, in two shards: the tensors in turns, in the order of their names."""
    return by_hand.make(path / "model", random_state(), "hub", "safetensors-shards")


def digest_of(state: by_hand.State, dtype: str = "float16") -> str:
    """The digest as the manifest defines it, from torch's own tensors."""
    lines = []
    for name, tensor in sorted(state.items()):
        digest = xxhash.xxh3_128(tensor.view(torch.uint8).numpy().tobytes()).hexdigest()
        lines.append(f"{name} {dtype} {list(tensor.shape)} {digest}\n")
    return "xxh3_128:" + xxhash.xxh3_128("".join(lines).encode()).hexdigest()


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def edit_shard(folder: Path, change: Callable[[by_hand.State], Any], shard: int = 0) -> None:
    tensors = load_file(folder / SHARDS[shard])
    change(tensors)
    save_file(tensors, folder / SHARDS[shard])


def index_of(folder: Path) -> Path:
    return folder / "model.safetensors.index.json"


def assert_page(facts: dict[str, Any]) -> str:
    """The facts are JSON for any reader; the page has no control character and at most 100 columns."""
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    text = page.render(facts)
    for line in text.split("\n"):
        assert len(line) <= 100 and line.isprintable(), repr(line)
    return text
