"""Folders that contradict themselves are named for it before anything is written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steadyphi.checkpoint.indexes import BIN, INDEXES, SAFETENSORS, read_index
from steadyphi.checkpoint.source import open_folder
from steadyphi.errors import SteadyPhiError
from tests.checkpoint import by_hand

INDEX = INDEXES[SAFETENSORS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    state = by_hand.random_state(tmp_path)
    return by_hand.make(tmp_path / "hub", state, "hub", "safetensors-shards")


def refused(folder: Path, message: str) -> None:
    with pytest.raises(SteadyPhiError, match=message) as caught:
        open_folder(folder)
    assert "\n" not in str(caught.value)


def edit_index(folder: Path, **changes: object) -> None:
    path = folder / INDEX
    values = json.loads(path.read_text())
    values["weight_map"].update(changes.pop("weight_map", {}))
    path.write_text(json.dumps(values | changes))


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def test_whole(folder: Path) -> None:
    opened = open_folder(folder)
    assert (opened.layout.name, opened.dtype, opened.config.n_layer) == ("hub", "float16", 2)
    state = {k: v for path in shards(folder) for k, v in load_file(path).items()}
    for name, stored in opened.tensors.items():
        data = stored.path.read_bytes()[stored.offset : stored.offset + stored.nbytes]
        assert data == bytes(state[name].view(-1).view(torch.uint8).numpy()), name


def test_a_shard_is_missing(folder: Path) -> None:
    shards(folder)[1].unlink()
    refused(folder, r"model-00002-of-00002\.safetensors: No such file.*fetch it again")


@pytest.mark.parametrize("cut", [1, 100, 500_000])
def test_a_shard_is_cut(folder: Path, cut: int) -> None:
    shard = shards(folder)[0]
    shard.write_bytes(shard.read_bytes()[:-cut])
    refused(folder, rf"{shard.name}: is not a whole safetensors file: .*fetch it again")


def test_two_shards_have_one_tensor(folder: Path) -> None:
    first, second = shards(folder)
    save_file({**load_file(second), "lm_head.bias": load_file(first)["lm_head.bias"]}, second)
    refused(folder, rf"both {first.name} and {second.name} have the tensor lm_head\.bias")


def test_the_index_lies_about_the_size(folder: Path) -> None:
    edit_index(folder, metadata={"total_size": 12345})
    refused(folder, r"total_size is 12,345, the tensors take [\d,]+ bytes")


def test_the_index_lies_about_a_tensor(folder: Path) -> None:
    edit_index(folder, weight_map={"lm_head.bias": shards(folder)[1].name})
    refused(folder, r"says that lm_head\.bias is in|does not name lm_head\.bias|both")
    edit_index(folder, weight_map={"lm_head.bias": shards(folder)[0].name, "more": shards(folder)[0].name})
    refused(folder, r"says that more is in model-00001.*, but it is not")
    values = json.loads((folder / INDEX).read_text())
    del values["weight_map"]["more"], values["weight_map"]["lm_head.bias"]
    (folder / INDEX).write_text(json.dumps(values))
    refused(folder, r"does not name lm_head\.bias, which is in model-00001")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "a\0b", 7, ["x"]])
def test_names_that_leave_the_folder(folder: Path, name: object) -> None:
    edit_index(folder, weight_map={"lm_head.bias": name})
    refused(folder, r"weight_map: .* is not the name of a file in the folder")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', "[" * 100_000])
def test_no_index(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    refused(folder, r"cannot be read as a weight index|weight_map is empty")


@pytest.mark.parametrize("total", ["NaN", "1e400", "1" + "0" * 400, "-Infinity", '"\\ud800"'])
def test_a_total_size_that_is_no_number(folder: Path, total: str) -> None:
    edit_index(folder, metadata={"total_size": "here"})
    (folder / INDEX).write_text((folder / INDEX).read_text().replace('"here"', total))
    refused(folder, r"index\.json: cannot be read as a weight index \(total_size: ")


def test_no_folder_no_weights(tmp_path: Path) -> None:
    refused(tmp_path / "none", "none: not found")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", "is not a folder")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "training_args.bin").write_text("x")
    refused(tmp_path, f"has no weights; looked for {SAFETENSORS}, {BIN}")


def test_an_index_without_metadata() -> None:
    index = read_index(b'{"weight_map": {"a": "b.bin"}}', Path("x"))
    assert index == ({"a": "b.bin"}, None)
