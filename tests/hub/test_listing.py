"""Listings that no Hub sends and that no fetch saved."""

import json
from pathlib import Path

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.hub import folder
from steadyphi.hub.listing import Listed, Listing, check_name, choose

FILE = {"name": "config.json", "size": 3, "kind": "git", "digest": "a" * 40}


def load(tmp_path: Path, text: str) -> Listing | None:
    (tmp_path / "listing.json").write_text(text)
    return Listing.load(tmp_path / "listing.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a":' * 3000 + "1" + "}" * 3000,
        json.dumps({"source": "a/b", "commit": "1", "files": {"x": {**FILE, "name": "\ud800.json"}}}),
        json.dumps({"source": "a/b", "commit": "1", "files": {"x": {**FILE, "size": float("nan")}}}),
        json.dumps({"source": "a/b", "commit": "1", "files": {"x": {**FILE, "size": []}}}),
        json.dumps({"source": "a/b", "commit": "1", "files": [FILE]}),
    ],
)
def test_a_saved_listing_that_is_none_is_fetched_again(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) is None
    good = load(tmp_path, json.dumps({"source": "a/b", "commit": "1", "files": {"x": FILE}}))
    assert good and good.files["config.json"].size == 3


@pytest.mark.parametrize("name", ["\ud800.json", "model-\udfff.safetensors"])
def test_half_a_character_in_a_name(name: str) -> None:
    with pytest.raises(SteadyPhiError, match=r"a/b: lists a file named .* cannot be written") as caught:
        check_name("a/b", name)
    assert str(caught.value).isprintable()
    listed = {n: Listed(n, 1, "none", "") for n in ("model.safetensors", "model-\x1b[2J.safetensors", name)}
    assert list(choose("a/b", listed, None, local=True)) == ["model.safetensors"]


def test_a_link_to_a_private_file_is_not_fetched(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in (tmp_path / "id_rsa", tmp_path / "big.safetensors", source / "LICENSE"):
        path.write_text("x")
    (source / "NOTICE").symlink_to("LICENSE")
    (source / "model.safetensors").symlink_to(tmp_path / "big.safetensors")  # weights are checked otherwise
    assert set(folder.listing(source)) == {"LICENSE", "NOTICE", "model.safetensors"}
    (source / "LICENSE-x").symlink_to(tmp_path / "id_rsa")
    with pytest.raises(SteadyPhiError, match=r"LICENSE-x: is a link to .*id_rsa, outside its folder"):
        folder.listing(source)
