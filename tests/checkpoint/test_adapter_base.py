"""An exported adapter names its base, and is used on no other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steadyphi.checkpoint import layouts, manifest
from steadyphi.checkpoint.convert import convert
from steadyphi.checkpoint.export import export
from steadyphi.errors import SteadyPhiError
from steadyphi.inference.load import load_model
from tests.checkpoint.adapters_by_hand import folder, write_adapter


@pytest.fixture(scope="module")
def base(lit_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """phi-tiny as if it came from the Hub."""
    path = Path(shutil.copytree(lit_tiny, tmp_path_factory.mktemp("base") / "model"))
    manifest.write(path, {**manifest.read(path), "source": "microsoft/phi-2", "revision": "810d367"})
    return path


@pytest.fixture(scope="module")
def exported(base: Path) -> Path:
    tuned = write_adapter(base.parent / "tuned", base)
    export(tuned, base, folder(base.parent / "adapter"), as_adapter=True)
    return base.parent / "adapter"


def other_weights(base: Path, path: Path) -> Path:
    """Write `base` in the Hub's layout with another bit in one number, and without a manifest."""
    convert(base, folder(path), layout=layouts.HUB)
    state = load_file(path / "model.safetensors")
    state["model.layers.2.mlp.fc1.bias"].view(torch.int16)[3] ^= 1
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    (path / "manifest.json").unlink()
    return path


def test_the_base_is_named(base: Path, exported: Path) -> None:
    config = json.loads((exported / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("microsoft/phi-2", "810d367")
    assert manifest.read(exported)["base_digest"] == manifest.read(base)["digest"]


@pytest.mark.parametrize("with_manifest", [True, False])
@pytest.mark.parametrize("layout", [layouts.HUB, layouts.LIT], ids=lambda layout: layout.name)
def test_the_same_weights_in_any_layout_are_the_base(
    base: Path, exported: Path, tmp_path: Path, layout: layouts.Layout, with_manifest: bool
) -> None:
    convert(base, folder(tmp_path / "same"), layout=layout)
    if not with_manifest:
        (tmp_path / "same" / "manifest.json").unlink()
    export(exported, tmp_path / "same", folder(tmp_path / "out"), as_adapter=False)
    export(exported, base, folder(tmp_path / "expected"), as_adapter=False)
    digests = [manifest.read(tmp_path / name)["digest"] for name in ("out", "expected")]
    assert digests[0] == digests[1]


def test_another_base_is_refused(base: Path, exported: Path, tmp_path: Path) -> None:
    other = other_weights(base, tmp_path / "other")
    message = r"adapter: was trained on microsoft/phi-2 at 810d367, but .*other has other weights .* --base"
    for as_adapter in (False, True):
        with pytest.raises(SteadyPhiError, match=message) as caught:
            export(exported, other, folder(tmp_path / f"out {as_adapter}"), as_adapter)
        assert "\n" not in str(caught.value)
    with pytest.raises(SteadyPhiError, match=message):
        load_model(other, exported, torch.float32)
    convert(base, folder(tmp_path / "wide"), "float32")
    with pytest.raises(SteadyPhiError, match="or another dtype"):
        load_model(tmp_path / "wide", exported, torch.float32)
    # A manifest whose files have other sizes is not that of the weights beside it.
    manifest.write(other, {**manifest.read(base), "files": {"model.safetensors": {"size": 7}}})
    with pytest.raises(SteadyPhiError, match=message):
        load_model(other, exported, torch.float32)


def test_without_the_record_the_adapter_is_used(base: Path, exported: Path, tmp_path: Path) -> None:
    other = other_weights(base, tmp_path / "other")
    adapter = Path(shutil.copytree(exported, tmp_path / "adapter"))
    content = manifest.read(adapter)
    manifest.write(adapter, {key: value for key, value in content.items() if key != "base_digest"})
    load_model(other, adapter, torch.float32)
