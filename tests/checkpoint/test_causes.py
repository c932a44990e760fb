"""Weights that are not those of a model: one line that names the cause, the same by inspect and convert."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from steadyphi.checkpoint import causes
from steadyphi.checkpoint.convert import convert
from steadyphi.checkpoint.export import export
from steadyphi.errors import SteadyPhiError
from steadyphi.hub.fetch import fetch
from steadyphi.inspection.inspect import inspect
from tests.checkpoint import by_hand
from tests.inspection.inspected import random_state

FC1 = "model.layers.0.mlp.fc1.weight"


@pytest.fixture
def state() -> by_hand.State:
    return dict(random_state())


def refused(folder: Path, message: str) -> None:
    """Both commands say the same line, and nothing is written."""
    target = folder.parent / "target"
    target.mkdir(exist_ok=True)
    with pytest.raises(SteadyPhiError, match=message) as caught:
        convert(folder, target)
    assert inspect(str(folder))["problems"] == [str(caught.value)]
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 and not list(target.iterdir())


def in_8_bits(state: by_hand.State) -> None:
    state[FC1] = torch.ones(640, 160, dtype=torch.int8)
    state[FC1.replace("weight", "SCB")] = torch.ones(640)


def in_4_bits(state: by_hand.State) -> None:
    state[FC1] = torch.ones(640 * 80, 1, dtype=torch.uint8)
    state[f"{FC1}.absmax"] = torch.ones(1600)
    state[f"{FC1}.quant_state.bitsandbytes__nf4"] = torch.ones(80, dtype=torch.uint8)


def by_gptq(state: by_hand.State) -> None:
    del state[FC1]
    state[FC1.replace("weight", "qweight")] = torch.ones(20, 640, dtype=torch.int32)
    state[FC1.replace("weight", "scales")] = torch.ones(2, 640).half()


def in_float8(state: by_hand.State) -> None:
    state[FC1] = state[FC1].to(torch.float8_e4m3fn)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        *(
            (change, how)
            for change in (in_8_bits, in_4_bits, by_gptq)
            for how in ("safetensors-shards", "bin")
        ),
        (in_float8, "safetensors"),
    ],
)
def test_quantized(
    change: Callable[[by_hand.State], None], how: str, state: by_hand.State, tmp_path: Path
) -> None:
    change(state)
    folder = by_hand.make(tmp_path / "model", state, "hub", how)
    refused(
        folder, r"were saved quantized, in 8 or 4 bits \(.*\); take the original checkpoint, or load it in"
    )


def test_a_setting_of_quantization_does_not_matter_beside_whole_weights(
    state: by_hand.State, tmp_path: Path
) -> None:
    folder = by_hand.make(tmp_path / "model", state, "hub", "safetensors")
    values = json.loads((folder / "config.json").read_text())
    values["quantization_config"] = {"load_in_8bit": True, "quant_method": "bitsandbytes"}
    (folder / "config.json").write_text(json.dumps(values))
    assert inspect(str(folder))["problems"] == []


@pytest.mark.parametrize("how", ["safetensors", "bin"])
def test_placeholders(how: str, state: by_hand.State, tmp_path: Path) -> None:
    empty = {k: torch.empty(0).half() if v.dim() == 2 else v for k, v in state.items()}
    folder = by_hand.make(tmp_path / "model", empty, "hub", how)
    refused(
        folder, r"14 of 33 tensors are empty \(.*\): DeepSpeed ZeRO-3 saved placeholders; run zero_to_fp32"
    )


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
@pytest.mark.parametrize("how", ["safetensors", "safetensors-shards", "bin-shards"])
def test_prefixes_are_left_out(prefix: str, how: str, state: by_hand.State, tmp_path: Path) -> None:
    plain = by_hand.make(tmp_path / "plain", state, "hub", how)
    prefixed = by_hand.make(tmp_path / "prefixed", {prefix + k: v for k, v in state.items()}, "hub", how)
    facts = inspect(str(prefixed))
    assert facts["problems"] == []
    assert f"the names of the tensors begin with {prefix}, which is left out" in facts["notes"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    digest = convert(prefixed, tmp_path / "a")["digest"]
    assert digest == convert(plain, tmp_path / "b")["digest"] == facts["digest"]["value"]


def test_a_prefix_of_some_tensors_is_left_in_place() -> None:
    assert causes.prefix(["module.a", "module.b"]) == "module."
    assert causes.prefix(["module.a", "b"]) == causes.prefix([]) == ""
    assert causes.prefix(["module." * 9 + "a"]) == "module." * 4


def test_a_peft_model_that_is_not_merged(state: by_hand.State, tmp_path: Path) -> None:
    wrapped = {causes.PEFT + name: tensor for name, tensor in state.items()}
    folder = by_hand.make(tmp_path / "without", wrapped, "hub", "safetensors")
    refused(
        folder, r"begin with base_model\.model\., so an unmerged peft model was saved; call its merge_and"
    )
    layer = f"{causes.PEFT}model.layers.0.mlp.fc1"
    wrapped[f"{layer}.base_layer.weight"] = wrapped.pop(f"{layer}.weight")
    wrapped[f"{layer}.lora_A.default.weight"] = torch.zeros(4, 160)
    folder = by_hand.make(tmp_path / "with", wrapped, "hub", "safetensors")
    refused(
        folder, r"has a LoRA adapter that is not merged \(.*lora_A\.default\.weight\); merge it with .*peft"
    )


def test_lora_of_litgpt(state: by_hand.State, tmp_path: Path) -> None:
    folder = by_hand.make(tmp_path / "model", state, "lit", "pth")
    lora = {"transformer.h.0.attn.qkv.lora_A": torch.zeros(4, 160)}
    torch.save({"model": by_hand.lit(state) | lora}, folder / "lit_model.pth")
    refused(
        folder, r"LoRA adapter that is not merged \(transformer\.h\.0\.attn\.qkv\.lora_A\); .*litgpt merge"
    )
    torch.save({"model": lora}, folder / "lit_model.pth.lora")
    (folder / "lit_model.pth").unlink()
    refused(
        folder,
        r"has lit_model\.pth\.lora, the LoRA weights of LitGPT, .*; run litgpt merge_lora on its folder",
    )


def test_parts_of_zero_without_the_whole(state: by_hand.State, tmp_path: Path) -> None:
    folder = by_hand.make(tmp_path / "model", state, "hub", "safetensors")
    (folder / "model.safetensors").rename(folder / "zero_to_fp32.py")
    refused(
        folder, r"has the weights in the parts of DeepSpeed ZeRO; run zero_to_fp32\.py in it, which writes"
    )


def test_an_adapter_is_not_a_model(tmp_path: Path) -> None:
    folder, target = tmp_path / "adapter", tmp_path / "target"
    folder.mkdir()
    target.mkdir()
    save_file({"x.lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    message = (
        "adapter: is an adapter in peft's format, not a model; merge it .* export ADAPTER TARGET --base MOD"
    )
    for read in (
        lambda: convert(folder, target),
        lambda: export(folder, folder, target, as_adapter=False),
        lambda: fetch(str(folder), None, target, tmp_path / "cache"),
    ):
        with pytest.raises(SteadyPhiError, match=message):
            read()
    assert inspect(str(folder))["kind"] == "adapter"


@pytest.mark.parametrize("how", ["bin", "bin-shards", "pth"])
def test_format_before_torch_1_6(how: str, state: by_hand.State, tmp_path: Path) -> None:
    folder = by_hand.make(tmp_path / "model", state, "lit" if how == "pth" else "hub", how)
    path = max(folder.glob("*.pth" if how == "pth" else "*.bin"))
    tensors = torch.load(path, weights_only=True)
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    message = (
        rf"{path.name}: is in the format that torch wrote before version 1\.6; load it with torch\.load\("
    )
    refused(folder, message)
    torch.save(torch.load(path, weights_only=True), path)  # as the message says
    assert inspect(str(folder))["problems"] == []


def test_several_dtypes(state: by_hand.State, tmp_path: Path) -> None:
    state[FC1] = state[FC1].float()
    folder = by_hand.make(tmp_path / "model", state, "hub", "safetensors")
    refused(
        folder, r"fc1\.weight is float32.*; choose one with the option --dtype .* the setting convert\.dtype$"
    )
    (tmp_path / "out").mkdir()
    assert convert(folder, tmp_path / "out", "float16")["dtype"] == "float16"
