"""A folder as a source: copied, hashed on the way, and checked against whatever its maker left."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from huggingface_hub import snapshot_download

from steadyphi.checkpoint import manifest
from steadyphi.errors import SteadyPhiError
from steadyphi.files import sha256
from steadyphi.hub import digests, space
from steadyphi.hub.fetch import fetch as fetch_repository
from tests.hub.hub_fixtures import COMMIT, NEEDED, REPO, SHARDS, Client, make_checkpoint

BIG = SHARDS[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = make_checkpoint(tmp_path / "source")
    (folder / "manifest.json").unlink()
    return folder


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def fetch(source: Path, into: Path, **changes: Any) -> dict[str, Any]:
    return fetch_repository(str(source), None, into, into.parent / "cache", **changes)


def spoil(path: Path) -> None:
    """Change one byte; the size stays. A link's target, not the link."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.resolve().write_bytes(data)


def test_a_plain_folder_is_copied_and_hashed(source: Path, into: Path) -> None:
    made = fetch(source, into)
    assert {p.name for p in into.iterdir()} == set(made["files"]) == NEEDED
    for name, facts in made["files"].items():
        assert facts == {"size": (source / name).stat().st_size, "sha256": sha256(source / name)}
        assert (into / name).read_bytes() == (source / name).read_bytes()
        assert (into / name).stat().st_nlink == 1  # a later edit of the source changes nothing here
    assert not (into.parent / "cache").exists()


@pytest.mark.parametrize("kernel", [True, False])
def test_copying_in_blocks(source: Path, into: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool) -> None:
    """By the kernel, and where it cannot, by reading and writing; sizes around those of the blocks."""
    monkeypatch.setattr(digests, "COPY", 4096)
    monkeypatch.setattr(digests, "BLOCK", 1000)
    if not kernel:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    for size in (0, 1, 999, 1000, 4095, 4096, 4097, 8192, 50_001):
        (source / BIG).write_bytes(random.Random(size).randbytes(size))
        for path in into.iterdir():
            path.unlink()
        made = fetch(source, into)
        assert (into / BIG).read_bytes() == (source / BIG).read_bytes()
        assert made["files"][BIG]["sha256"] == sha256(source / BIG)


def test_a_fetched_folder_is_checked_by_its_manifest(source: Path, into: Path) -> None:
    manifest.write(into, fetch(source, into))
    again = into.parent / "again"
    again.mkdir()
    assert set(fetch(into, again)["files"]) == NEEDED  # without the manifest, which is not a file of it
    for name in (BIG, "config.json"):
        kept = (into / name).read_bytes()
        spoil(into / name)
        with pytest.raises(SteadyPhiError, match=f"{name}: has a different digest than manifest.json says"):
            fetch(into, again)
        assert not (again / name).exists()
        (into / name).write_bytes(kept + b" ")
        with pytest.raises(SteadyPhiError, match=f"{name}: has a different size than manifest.json says"):
            fetch(into, again)
        (into / name).write_bytes(kept)
    (into / SHARDS[1]).unlink()
    with pytest.raises(SteadyPhiError, match=f"{SHARDS[1]}: is listed in manifest.json but does not exist"):
        fetch(into, again)


@pytest.mark.parametrize("text", ["{", '{"files": 3}', '{"files": {"config.json": {"sha256": "1"}}}'])
def test_a_manifest_that_is_none(source: Path, into: Path, text: str) -> None:
    (source / "manifest.json").write_text(text)
    with pytest.raises(SteadyPhiError, match=r"(is not|cannot be read as) a manifest") as caught:
        fetch(source, into)
    assert "\n" not in str(caught.value)


def test_a_lit_gpt_checkpoint(tmp_path: Path, into: Path) -> None:
    lit = tmp_path / "lit"
    lit.mkdir()
    (lit / "lit_model.pth").write_bytes(b"weights")
    (lit / "model_config.yaml").write_text("name: phi-2\n")
    for name in ("lit_config.json", "tokenizer.json"):
        (lit / name).write_text("{}")
    (lit / "manifest.json").write_text(json.dumps({"tensors": 1, "files": {"lit_model.pth": {"size": 7}}}))
    made = fetch(lit, into)
    assert set(made["files"]) == {"lit_model.pth", "model_config.yaml", "lit_config.json", "tokenizer.json"}
    (lit / "lit_model.pth").write_bytes(b"weight")
    with pytest.raises(SteadyPhiError, match=r"lit_model\.pth: has a different size than manifest.json says"):
        fetch(lit, into)
    for forced in (True, False):
        with pytest.raises(SteadyPhiError, match="has only lit-gpt weights"):
            fetch(lit, into, from_safetensors=forced)
    # Beside others it counts last.
    (lit / "manifest.json").unlink()
    (lit / "pytorch_model.bin").write_bytes(b"pickle")
    for path in into.iterdir():
        path.unlink()
    assert set(fetch(lit, into)["files"]) == {"pytorch_model.bin", "lit_config.json", "tokenizer.json"}


def test_no_weights_at_all(tmp_path: Path, into: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SteadyPhiError, match=r"neither safetensors nor \.bin nor lit_model\.pth"):
        fetch(tmp_path / "empty", into)


def test_a_snapshot_in_the_librarys_cache_is_checked(client: Client, into: Path) -> None:
    snapshot = Path(snapshot_download(REPO, revision=COMMIT, endpoint=client.hub.endpoint))
    assert set(fetch(snapshot, into)["files"]) == NEEDED
    assert not any(p.is_symlink() for p in into.iterdir())
    for name in ("config.json", BIG):
        kept = (snapshot / name).read_bytes()
        spoil(snapshot / name)
        with pytest.raises(SteadyPhiError, match=f"{name}: has a different digest than its name in"):
            fetch(snapshot, into)
        (snapshot / name).resolve().write_bytes(kept)


def test_a_folder_made_by_the_library_is_checked(client: Client, into: Path) -> None:
    made = into.parent / "made"
    snapshot_download(REPO, revision=COMMIT, endpoint=client.hub.endpoint, local_dir=made)
    (made / "manifest.json").unlink()
    assert set(fetch(made, into)["files"]) == NEEDED
    copied = into.parent / "copied"  # a copy's times are new, and corruption comes by copying
    shutil.copytree(made, copied, copy_function=shutil.copyfile)
    for name in ("config.json", BIG):
        kept = (copied / name).read_bytes()
        spoil(copied / name)
        with pytest.raises(SteadyPhiError, match=rf"{name}: has a different digest than \S+\.metadata says"):
            fetch(copied, into)
        (copied / name).write_bytes(kept)
    spoil(copied / "config.json")
    (copied / ".cache/huggingface/download/config.json.metadata").unlink()  # as the message says
    assert fetch(copied, into)["files"]["config.json"]["sha256"] == sha256(copied / "config.json")


def test_links_are_followed_and_dead_ones_named(source: Path, into: Path) -> None:
    elsewhere = source.parent / "elsewhere.safetensors"
    (source / BIG).rename(elsewhere)
    (source / BIG).symlink_to(elsewhere)
    fetch(source, into)
    assert not (into / BIG).is_symlink() and (into / BIG).read_bytes() == elsewhere.read_bytes()
    elsewhere.unlink()
    with pytest.raises(SteadyPhiError, match=f"{BIG}: is a link to .*, which does not exist"):
        fetch(source, into)


def test_the_source_itself_is_not_fetched_into(source: Path) -> None:
    with pytest.raises(SteadyPhiError, match="is the folder to fetch into"):
        fetch(source, source)
    assert NEEDED <= {p.name for p in source.iterdir()}


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_room_is_looked_for_first(source: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum((source / name).stat().st_size for name in NEEDED)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: Usage(0, 0, size - 1))
    with pytest.raises(SteadyPhiError, match=r"needs \d+\.\d\d kB more .*; free 1 bytes and run it again"):
        fetch(source, into)
    assert not list(into.iterdir())
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: Usage(0, 0, size))
    fetch(source, into)


def test_each_disk_has_its_own_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two file systems")
    free = {tmp_path: 10, other: 20}
    monkeypatch.setattr(space.shutil, "disk_usage", lambda folder: Usage(0, 0, free[folder]))
    space.check("x", [(tmp_path, 10), (other, 20)])
    for needs in ([(tmp_path, 11), (other, 1)], [(tmp_path, 1), (other, 21)], [(tmp_path, 6), (tmp_path, 5)]):
        with pytest.raises(SteadyPhiError, match="; free 1 bytes and"):
            space.check("x", needs)
