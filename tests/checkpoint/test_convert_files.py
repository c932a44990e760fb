"""The files beside the weights: which are copied, and which are refused before anything is copied."""

import os
from pathlib import Path

import pytest

from steadyphi.checkpoint.convert import convert
from steadyphi.errors import SteadyPhiError
from steadyphi.files import sha256
from tests.checkpoint import by_hand


def refused_before_copying(source: Path, tmp_path: Path, match: str) -> None:
    (tmp_path / "target").mkdir(exist_ok=True)
    with pytest.raises(SteadyPhiError, match=match):
        convert(source, tmp_path / "target")
    assert not list((tmp_path / "target").iterdir())


def test_a_folder_of_licences_is_left_out(state: by_hand.State, tmp_path: Path) -> None:
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    (source / "LICENSES").mkdir()
    (source / "LICENSES" / "MIT.txt").touch()
    (source / "LICENSE").write_text("MIT")
    (source / "NOTICE-x").symlink_to("LICENSE")
    (tmp_path / "target").mkdir()
    convert(source, tmp_path / "target")
    copied = {path.name for path in (tmp_path / "target").iterdir() if path.name[0] in "LN"}
    assert copied == {"LICENSE", "NOTICE-x"} and not (tmp_path / "target" / "NOTICE-x").is_symlink()


@pytest.mark.parametrize(
    "name", ["LICENSE-x", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
def test_a_pipe_is_refused_before_copying(state: by_hand.State, tmp_path: Path, name: str) -> None:
    """To open a pipe would wait for ever."""
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    (source / name).unlink(missing_ok=True)
    os.mkfifo(source / name)
    refused_before_copying(source, tmp_path, f"{name}: is (not a regular file|a pipe or a device)")


def test_a_link_to_a_private_file_is_refused_before_copying(state: by_hand.State, tmp_path: Path) -> None:
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    (tmp_path / "id_rsa").write_text("secret")
    (source / "LICENSE-x").symlink_to(tmp_path / "id_rsa")
    refused_before_copying(source, tmp_path, "LICENSE-x: is a link to .*id_rsa, outside its folder")


def test_a_snapshot_of_the_hubs_cache_is_converted(state: by_hand.State, tmp_path: Path) -> None:
    """Its files are links to blobs, which are named by their digest."""
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    (source / "LICENSE").write_text("MIT")
    snapshot, blobs = tmp_path / "snapshots" / "1", tmp_path / "blobs"
    for folder in (snapshot, blobs, tmp_path / "target"):
        folder.mkdir(parents=True)
    for path in source.iterdir():
        path.rename(blob := blobs / sha256(path))
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    convert(snapshot, tmp_path / "target")
    assert (tmp_path / "target" / "LICENSE").read_text() == "MIT"


@pytest.mark.parametrize(
    "text", ['{"a":' * 3000 + "1" + "}" * 3000, '{"a": "\\ud800"}', "[]", '{"source": NaN}']
)
def test_a_manifest_is_read_before_copying(state: by_hand.State, tmp_path: Path, text: str) -> None:
    source = by_hand.make(tmp_path / "source", state, "hub", "safetensors")
    (source / "manifest.json").write_text(text)
    refused_before_copying(
        source, tmp_path, r"manifest\.json: cannot be read as a manifest \(.*\); delete it"
    )
    (source / "manifest.json").write_text('{"source": ["x"], "revision": 3}')
    assert convert(source, tmp_path / "target")["source"] == "source"
