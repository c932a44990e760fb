"""Adapters that do not fit their base, or have settings that export does not know, are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from steadyphi.checkpoint.export import export
from steadyphi.errors import SteadyPhiError
from steadyphi.inspection.inspect import inspect
from tests.checkpoint.adapters_by_hand import folder, write_adapter

Change = Callable[[dict[str, Any], dict[str, Tensor]], None]


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "LOHA"},
        {"r": 0},
        {"r": "8"},
        {"lora_alpha": None},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "loftq"},
        {"alpha_pattern": {"mlp.fc": "2"}},
        {"alpha_pattern": {r"h\.(0|1)\..*": 2}},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"]},
        {"layer_replication": [[0, 2]]},
        {"trainable_token_indices": [3]},
        {"use_qalora": True},
        {"an_option_of_tomorrow": 1.5},
    ],
)
@pytest.mark.parametrize("as_adapter", [False, True])
def test_settings_that_change_the_result_are_refused_by_name(
    lit_tiny: Path, tmp_path: Path, change: dict[str, Any], as_adapter: bool
) -> None:
    tuned = write_adapter(tmp_path / "tuned", lit_tiny)
    path = tuned / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(SteadyPhiError, match=rf"adapter_config\.json: .*{next(iter(change))}: ") as caught:
        export(tuned, lit_tiny, folder(tmp_path / "out"), as_adapter)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert inspect(str(tuned))["problems"] == [str(caught.value)]


def _without(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    del state["transformer.h.3.mlp.fc.lora_B.weight"]


def _without_a_layer(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    for which in "AB":
        del state[f"transformer.h.3.mlp.fc.lora_{which}.weight"]


def _one_more(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.4.mlp.fc.lora_A.weight"] = torch.zeros(6, 256)
    state["transformer.h.4.mlp.fc.lora_B.weight"] = torch.zeros(1024, 6)


def _for_transformers(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    config["target_modules"] = ["q_proj"]


def _of_another_width(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.0.attn.qkv.lora_A.weight"] = torch.zeros(6, 160)


def _of_another_rank(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    config["r"] = 8


def _without_lengths(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    config["use_dora"] = True


def _lengths_for_nothing(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.0.attn.qkv.lora_magnitude_vector"] = torch.ones(768)


def _not_a_number(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.0.mlp.proj.lora_B.weight"][3, 3] = torch.nan


def _of_two_ranks(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.0.attn.qkv.lora_B.weight"] = torch.zeros(768, 5)


def _lengths_alone(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["lm_head.lora_magnitude_vector"] = torch.ones(1280)


def _as_an_embedding(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    for which in "AB":
        tensor = state.pop(f"transformer.h.0.mlp.proj.lora_{which}.weight")
        state[f"transformer.h.0.mlp.proj.lora_embedding_{which}"] = torch.zeros(*tensor.shape)
    state["transformer.h.0.mlp.proj.lora_embedding_A"] = torch.zeros(6, 256)
    state["transformer.h.0.mlp.proj.lora_embedding_B"] = torch.zeros(1024, 6)


def _not_a_matrix(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.0.mlp.proj.lora_A.weight"] = torch.zeros(6 * 1024)


def _double(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.0.mlp.proj.lora_B.weight"] = torch.zeros(256, 6).double()


def _placeholder(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.0.mlp.proj.lora_B.weight"] = torch.zeros(0)


def _with_a_bias(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.0.mlp.proj.bias"] = torch.zeros(256)


def _with_lora_bias(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["transformer.h.0.mlp.proj.lora_B.bias"] = torch.zeros(256)


def _with_a_layer(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    state["lm_head.weight"], state["lm_head.bias"] = torch.zeros(1283, 256), torch.zeros(1283)


def _with_its_name(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    for name in list(state):
        state[name.removesuffix("weight") + "default.weight"] = state.pop(name)


def _fewer_targets(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    config["target_modules"] = ["attn.qkv", "attn.proj", "mlp.proj"]


@pytest.mark.parametrize(
    "change, message",
    [
        (_without, r"h\.3\.mlp\.fc\.lora_A\.weight has no counterpart .*h\.3\.mlp\.fc\.lora_B\.weight$"),
        (_without_a_layer, r"has no LoRA tensors of .*h\.3\.mlp\.fc; was it trained on this model\?$"),
        (_one_more, r"this model has no .*h\.4\.mlp\.fc; was it trained on this model\?$"),
        (_for_transformers, r"target_modules of adapter_config\.json does not name its module; .*15 more"),
        (_fewer_targets, r"mlp\.fc\.lora_A\.weight: target_modules of adapter_config\.json does not name"),
        (_of_another_width, r"attn\.qkv\.lora_A\.weight has shape \(6, 160\), .* needs \(6, 256\)$"),
        (_of_another_rank, r"lora_A\.weight has shape \(6, 256\), .* says that r is 8 \(15 more like it\)$"),
        (_of_two_ranks, r"lora_B\.weight has shape \(768, 5\), but .*lora_A\.weight has \(6, 256\)$"),
        (_without_lengths, r"lora_magnitude_vector is missing, .* use_dora is True \(15 more like it\)$"),
        (_lengths_for_nothing, r"qkv\.lora_magnitude_vector exists, .* says that use_dora is False$"),
        (_lengths_alone, r"lm_head\.lora_magnitude_vector: its module has 0 pairs of A and B$"),
        (_as_an_embedding, r"lora_embedding_A has the form of another kind of layer than .*mlp\.proj$"),
        (_not_a_matrix, r"mlp\.proj\.lora_A\.weight has shape \(6144,\), but it should be a matrix$"),
        (_not_a_number, r"h\.0\.mlp\.proj\.lora_B\.weight has NaN or infinite numbers$"),
        (
            _double,
            r"h\.0\.mlp\.proj\.lora_B\.weight has the dtype F64; adapters are float16, bfloat16, float32$",
        ),
        (_placeholder, r"1 of 32 tensors are empty .*ZeRO-3 saved placeholders; run zero_to_fp32\.py"),
        (_with_a_bias, r"h\.0\.mlp\.proj\.bias is a bias, not of LoRA \(bias or modules_to_save\); merge it"),
        (_with_lora_bias, r"mlp\.proj\.lora_B\.bias is a bias of LoRA itself \(lora_bias\); merge it with"),
        (
            _with_a_layer,
            r"lm_head\.weight is a whole layer of 1,283 rows, .* has 1,280, not of LoRA .*1 more",
        ),
        (_with_its_name, r"lora_A\.default\.weight has the adapter's name in it; .*save_pretrained\(\)"),
    ],
)
@pytest.mark.parametrize("as_adapter", [False, True])
def test_an_adapter_that_does_not_fit(
    lit_tiny: Path, tmp_path: Path, change: Change, message: str, as_adapter: bool
) -> None:
    tuned = write_adapter(tmp_path / "tuned", lit_tiny)
    config = json.loads((tuned / "adapter_config.json").read_text())
    state = load_file(tuned / "adapter_model.safetensors")
    change(config, state)
    save_file({k: v.contiguous() for k, v in state.items()}, tuned / "adapter_model.safetensors")
    (tuned / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(SteadyPhiError, match=message) as caught:
        export(tuned, lit_tiny, folder(tmp_path / "out"), as_adapter)
    assert "\n" not in str(caught.value)


def test_folders_that_are_not_what_they_should_be(lit_tiny: Path, tmp_path: Path) -> None:
    tuned, out = write_adapter(tmp_path / "tuned", lit_tiny), folder(tmp_path / "out")
    for as_adapter in (False, True):
        with pytest.raises(SteadyPhiError, match="nowhere: not found"):
            export(tuned, tmp_path / "nowhere", out, as_adapter)
        for neither in (out, tmp_path / "nowhere"):
            with pytest.raises(SteadyPhiError, match=r"has neither adapter_config\.json nor lit_model\.pth"):
                export(neither, lit_tiny, out, as_adapter)
    path = tuned / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SteadyPhiError, match="is not a whole safetensors file"):
        export(tuned, lit_tiny, out, as_adapter=True)
    path.unlink()
    with pytest.raises(SteadyPhiError, match=r"has no weights; looked for adapter_model"):
        export(tuned, lit_tiny, out, as_adapter=True)
    for text in ("{", '{"lora_alpha": NaN}', f'{{"lora_alpha": 1{"0" * 400}}}'):
        (tuned / "adapter_config.json").write_text(text)
        with pytest.raises(SteadyPhiError, match=r"adapter_config\.json: cannot be read as settings"):
            export(tuned, lit_tiny, out, as_adapter=True)


def test_no_targets_in_the_model(lit_tiny: Path, tmp_path: Path) -> None:
    tuned = write_adapter(tmp_path / "tuned", lit_tiny, ("mlp.gate",))
    with pytest.raises(SteadyPhiError, match=r"has no LoRA tensors \(lora_A, lora_B\)$"):
        export(tuned, lit_tiny, folder(tmp_path / "out"), as_adapter=False)
