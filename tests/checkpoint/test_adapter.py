"""Adapters as peft and others write them: merged and exported as peft computes them, or refused by name."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from steadyphi.checkpoint import layouts
from steadyphi.checkpoint.adapter import read_updates
from steadyphi.checkpoint.adapter_format import MAKING
from steadyphi.checkpoint.convert import convert
from steadyphi.checkpoint.export import export
from steadyphi.checkpoint.source import open_folder
from steadyphi.errors import SteadyPhiError
from steadyphi.inference.load import load_tuned
from steadyphi.inspection.inspect import inspect
from steadyphi.model_config import PhiConfig

TOKENS = torch.tensor([5, 900, 17, 17, 1279, 64, 3, 250, 31, 0, 77])
PREFIX = "base_model.model."
CASES = ("real-gaussian", "real-exclude", "all-linear-bin")


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def case(shared: Path, name: str) -> Path:
    folder = shared / "cases" / "adapters" / name
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which this clone does not have")
    return folder


def numbers(adapter: Path) -> dict[str, Tensor]:
    """Return the tensors of an adapter, read by the libraries of its format."""
    if (adapter / "adapter_model.safetensors").exists():
        return dict(load_file(adapter / "adapter_model.safetensors"))
    return dict(torch.load(adapter / "adapter_model.bin", weights_only=True))


def hub_state(path: Path) -> dict[str, Tensor]:
    return {key: value for file in path.glob("*.safetensors") for key, value in load_file(file).items()}


def assert_merged_by_formula(adapter: Path, base: Path, out: Path, scale: float = 2.0) -> None:
    """Hu et al. 2021, arXiv 2106.09685, eq. 3, for an adapter with the current names of the Hub."""
    export(adapter, base, folder(out), as_adapter=False)
    expected, state = hub_state(base), numbers(adapter)
    for name, a in state.items():
        if name.endswith(".lora_A.weight"):
            part = name.removeprefix(PREFIX).replace("lora_A.", "")
            added = scale * (state[name.replace("lora_A", "lora_B")].float() @ a.float())
            expected[part] = (expected[part].float() + added).to(expected[part].dtype)
    merged = hub_state(out)
    assert merged.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(merged[name], tensor, atol=1e-6, rtol=1e-3, msg=name)


@pytest.mark.parametrize("name", CASES)
def test_real_adapters_are_merged(name: str, shared: Path, phi_tiny: Path, tmp_path: Path) -> None:
    adapter = case(shared, name)
    assert inspect(str(adapter))["problems"] == []
    assert_merged_by_formula(adapter, phi_tiny, tmp_path / "out")


def test_saved_embeddings_are_refused_as_such(shared: Path, phi_tiny: Path, tmp_path: Path) -> None:
    adapter = case(shared, "saved-embeddings")
    (problem,) = inspect(str(adapter))["problems"]
    assert "lm_head.weight is a whole layer of 1,283 rows, not of LoRA (modules_to_save or save" in problem
    for as_adapter in (False, True):
        message = (
            "lm_head.weight is a whole layer of 1,283 rows, where the base's embedding has 1,280, not of"
        )
        with pytest.raises(SteadyPhiError, match=message):
            export(adapter, phi_tiny, tmp_path, as_adapter)
    assert not list(tmp_path.iterdir())


def made(
    path: Path, base: Path, layout: layouts.Layout, change: Mapping[str, Any], prefix: str = PREFIX
) -> Path:
    """Write an adapter of the first layer's matrices with random numbers, r 4 and alpha 8."""
    torch.manual_seed(5)
    tensors = {}
    for name, tensor in layouts.tensors(layout, PhiConfig.from_folder(base)).items():
        module, _, kind = name.rpartition(".")
        layer = ("model.layers.0.", "transformer.h.0.", "layers.1.")
        if kind == "weight" and len(tensor.shape) == 2 and module.startswith(layer):
            tensors[f"{prefix}{module}.lora_A.weight"] = 0.1 * torch.randn(4, tensor.shape[1])
            tensors[f"{prefix}{module}.lora_B.weight"] = 0.1 * torch.randn(tensor.shape[0], 4)
    save_file(tensors, folder(path) / "adapter_model.safetensors")
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": "all-linear", **change}
    (path / "adapter_config.json").write_text(json.dumps(values))
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"target_modules": r".*layers\.0\.(self_attn|mlp)\..*"},
        {
            "target_modules": ["dense", "fc1", "fc2", "q_proj", "k_proj", "v_proj"],
            "exclude_modules": "lm_head",
        },
        {"target_modules": ["dense", "fc1", "fc2", "q_proj", "k_proj", "v_proj"], "layers_to_transform": 0},
        {
            "rank_pattern": {"dense": 4},
            "r": 64,
            "lora_alpha": 128,
            "alpha_pattern": {"fc1": 8, "layers.0": 9},
        },
        {"fan_in_fan_out": True, "loftq_config": {"loftq_bits": 4}, "layers_pattern": ["layers"]},
        {"lora_dropout": 0.5, "peft_version": "0.99", "merge_weights": False, "ensure_weight_tying": True},
    ],
)
def test_how_an_adapter_was_made_changes_nothing(
    change: dict[str, Any], phi_tiny: Path, tmp_path: Path
) -> None:
    adapter = made(tmp_path / "adapter", phi_tiny, layouts.HUB, change)
    if "alpha_pattern" in change:  # 8 of fc1 and 128 of the others, by their rank of 4
        state = numbers(adapter)
        for name in [name for name in state if ".fc1." not in name]:
            del state[name]
        save_file(state, adapter / "adapter_model.safetensors")
    assert inspect(str(adapter))["problems"] == []
    assert_merged_by_formula(adapter, phi_tiny, tmp_path / "out")


@pytest.mark.parametrize("prefix", ["", PREFIX, f"_orig_mod.{PREFIX}", f"module.{PREFIX}_orig_mod."])
def test_prefixes(prefix: str, phi_tiny: Path, tmp_path: Path) -> None:
    adapter = made(tmp_path / "adapter", phi_tiny, layouts.HUB, {}, prefix)
    plain = made(tmp_path / "plain", phi_tiny, layouts.HUB, {})
    assert inspect(str(adapter))["problems"] == []
    digests = [
        export(path, phi_tiny, folder(tmp_path / f"{path.name}-out"), as_adapter=False)["digest"]
        for path in (adapter, plain)
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("layout", layouts.LAYOUTS.values(), ids=lambda layout: layout.name)
def test_the_names_may_be_of_any_layout(layout: layouts.Layout, phi_tiny: Path, tmp_path: Path) -> None:
    """The matrices in the adapter's own layout, W + 2 · B A, converted to the Hub's."""
    adapter = made(tmp_path / "adapter", phi_tiny, layout, {})
    convert(phi_tiny, folder(tmp_path / "base"), "float32", layout)
    state = hub_state(tmp_path / "base") or torch.load(tmp_path / "base" / "lit_model.pth")
    for name, a in numbers(adapter).items():
        if name.endswith("lora_A.weight"):
            b = numbers(adapter)[name.replace("lora_A", "lora_B")]
            state[name.removeprefix(PREFIX).replace("lora_A.", "")] += 2 * (b @ a)
    for path in (tmp_path / "base").glob("*model*.safetensors"):
        save_file(state, path)
    if (tmp_path / "base" / "lit_model.pth").exists():
        torch.save(state, tmp_path / "base" / "lit_model.pth")
    convert(tmp_path / "base", folder(tmp_path / "expected"), layout=layouts.HUB)
    convert(phi_tiny, folder(tmp_path / "float32"), "float32", layouts.HUB)
    export(adapter, tmp_path / "float32", folder(tmp_path / "out"), as_adapter=False)
    merged, expected = hub_state(tmp_path / "out"), hub_state(tmp_path / "expected")
    assert merged.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(merged[name], tensor, atol=1e-6, rtol=1e-5, msg=name)


def test_no_code_of_a_pickled_adapter_is_executed(phi_tiny: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "owned",)

    adapter = made(tmp_path / "adapter", phi_tiny, layouts.HUB, {})
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"x.lora_A.weight": Evil()}, adapter / "adapter_model.bin")
    with pytest.raises(SteadyPhiError, match="it was not executed") as caught:
        export(adapter, phi_tiny, tmp_path, as_adapter=False)
    assert inspect(str(adapter))["problems"] == [str(caught.value)]
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("text", ["[]", "{}", "[1]", "null", "3", '"LORA"'])
def test_settings_that_are_none_are_refused(text: str, phi_tiny: Path, tmp_path: Path) -> None:
    adapter = made(tmp_path / "adapter", phi_tiny, layouts.HUB, {})
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(SteadyPhiError, match=r"adapter_config\.json: ") as caught:
        export(adapter, phi_tiny, tmp_path, as_adapter=False)
    assert inspect(str(adapter))["problems"] == [str(caught.value)]


SETTINGS = sorted(
    MAKING | {"r", "lora_alpha", "alpha_pattern", "use_dora", "use_rslora", "bias", "peft_type"}
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.dictionaries(st.sampled_from(SETTINGS), VALUES, min_size=1, max_size=4))
def test_any_settings_are_read_or_refused(changes: dict[str, Any], phi_tiny: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    if not adapter.exists():
        made(adapter, phi_tiny, layouts.HUB, {})
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **changes}
    (adapter / "adapter_config.json").write_text(json.dumps(values))
    problems = inspect(str(adapter))["problems"]
    try:
        read_updates(adapter, open_folder(phi_tiny))
    except SteadyPhiError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
        # Which modules the list leaves out can be seen only beside the model.
        assert problems[:1] == [str(error)] or "has no LoRA tensors of" in str(error)
    else:
        assert not problems


def transformers_phi(path: Path) -> Any:
    import transformers

    return transformers.PhiForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")


def with_peft(adapter: Path, base: Path) -> Any:
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(transformers_phi(base), str(adapter))


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(TOKENS[None]).logits[0]


def assert_as_peft(adapter: Path, base: Path, path: Path) -> None:
    """What we compute, merge and export, beside peft's own merge in transformers; 1e-4 of logits up to 20."""
    assert inspect(str(adapter))["problems"] == []
    theirs = with_peft(adapter, base)
    expected = logits(theirs)
    assert (expected - logits(transformers_phi(base))).abs().max() > 0.01
    with torch.no_grad():
        ours = load_tuned(base, adapter, torch.float32)(TOKENS, [len(TOKENS)])
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    export(adapter, base, folder(path / "adapter-out"), as_adapter=True)
    torch.testing.assert_close(logits(with_peft(path / "adapter-out", base)), expected, atol=1e-4, rtol=0)
    export(adapter, base, folder(path / "merged"), as_adapter=False)
    merged = theirs.merge_and_unload().state_dict()
    for name, tensor in hub_state(path / "merged").items():
        torch.testing.assert_close(tensor, merged[name].to(tensor.dtype), atol=1e-6, rtol=1e-3, msg=name)
    rounded = {name: tensor.to(torch.float16).float() for name, tensor in merged.items()}
    model = transformers_phi(base)
    model.load_state_dict(rounded)
    torch.testing.assert_close(logits(transformers_phi(path / "merged")), logits(model), atol=0.02, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_real_adapters_have_the_logits_of_peft(
    name: str, shared: Path, phi_tiny: Path, tmp_path: Path
) -> None:
    assert_as_peft(case(shared, name), phi_tiny, tmp_path)


ATTENTION = ["q_proj", "k_proj", "v_proj", "dense"]
PEFT: dict[str, dict[str, Any]] = {
    "regex": {"target_modules": r".*layers\.[02]\.(self_attn\.q_proj|mlp\.fc\d)"},
    "layers": {"target_modules": ATTENTION, "layers_to_transform": [1, 3]},
    "exclude by regex": {"target_modules": "all-linear", "exclude_modules": r".*\.fc\d"},
    "ranks": {
        "target_modules": ATTENTION,
        "rank_pattern": {"q_proj": 2, "^model.layers.1.self_attn.dense": 7},
    },
    "ranks and alphas": {
        "target_modules": ATTENTION,
        "rank_pattern": {r"layers\.[01]\..*v_proj": 3},
        "alpha_pattern": {"layers.1.self_attn.v_proj": 21, "v_proj": 5, "^dense": 99, "dense": 2},
        "use_rslora": True,
    },
    "dora with ranks": {"target_modules": [*ATTENTION, "fc1"], "rank_pattern": {"fc1": 2}, "use_dora": True},
    "orthogonal": {"target_modules": ["fc2"], "init_lora_weights": "orthogonal"},
    "not initialized": {"target_modules": ["fc2"], "init_lora_weights": False, "fan_in_fan_out": True},
    "embedding": {"target_modules": ["embed_tokens", "fc1"], "alpha_pattern": {"embed_tokens": 3}},
}


@pytest.mark.slow
@pytest.mark.parametrize("bin_file", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("name", PEFT)
def test_what_peft_writes_has_the_logits_of_peft(
    name: str, bin_file: bool, phi_tiny: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **PEFT[name])
        model: Any = get_peft_model(transformers_phi(phi_tiny), config)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key and "magnitude" not in key:
                    parameter.copy_(0.05 * torch.randn_like(parameter))
        model.save_pretrained(tmp_path / "a", save_embedding_layers=False, safe_serialization=not bin_file)
    adapter = tmp_path / "a"
    if bin_file and not (adapter / "adapter_model.bin").exists():
        torch.save(numbers(adapter), adapter / "adapter_model.bin")
        (adapter / "adapter_model.safetensors").unlink()
    assert_as_peft(adapter, phi_tiny, tmp_path)
