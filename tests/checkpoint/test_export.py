"""What was fine-tuned, exported: the merged weights by the formula, and the files of an adapter."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from steadyphi.checkpoint import layouts, manifest
from steadyphi.checkpoint.convert import convert
from steadyphi.checkpoint.export import export
from steadyphi.errors import SteadyPhiError
from steadyphi.settings.groups import Full
from steadyphi.training import adapters
from tests.checkpoint.adapters_by_hand import EVERYWHERE, folder, weights, write_adapter
from tests.training.made import TARGETS, settings


def formula(base: Path, tuned: Path, scale: float) -> dict[str, Tensor]:
    """W + scale · B A of every weight, with DoRA's lengths, [q; k; v] cut in three, by the Hub's names."""
    state = torch.load(base / "lit_model.pth", weights_only=True)
    adapter = load_file(tuned / "adapter_model.safetensors")
    for key, a in adapter.items():
        if ".lora_A" not in key and ".lora_embedding_A" not in key:
            continue
        b, module = adapter[key.replace("_A", "_B")], key.partition(".lora_")[0]
        stored = state[f"{module}.weight"]
        weight = stored.t() if "embedding" in key else stored
        weight = weight.float() + scale * (b @ a)
        if scale and f"{module}.lora_magnitude_vector" in adapter:
            lengths = weight.square().sum(1).sqrt()
            weight = (adapter[f"{module}.lora_magnitude_vector"] / lengths)[:, None] * weight
        weight = weight.t() if "embedding" in key else weight
        state[f"{module}.weight"] = weight.to(stored.dtype).contiguous()
    merged = {}
    renamed = {"attn.proj": "self_attn.dense", "mlp.fc": "mlp.fc1", "mlp.proj": "mlp.fc2"}
    renamed |= {"transformer.h": "model.layers", "norm_1": "input_layernorm"}
    renamed |= {"transformer.wte": "model.embed_tokens", "transformer.ln_f": "model.final_layernorm"}
    for name, tensor in state.items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        if "attn.qkv" in name:
            for which, part in zip("qkv", tensor.chunk(3), strict=True):
                merged[name.replace("attn.qkv", f"self_attn.{which}_proj")] = part
        else:
            merged[name] = tensor
    return merged


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize(
    "targets",
    [TARGETS, ("attn.qkv",), ("mlp.proj", "attn.proj"), ("lm_head", "mlp.fc"), ("wte", "attn.qkv"), ("wte",)],
)
def test_merged_equals_the_formula(
    lit_tiny: Path, tmp_path: Path, targets: tuple[str, ...], dora: bool
) -> None:
    """Hu et al. 2021, arXiv 2106.09685, eq. 3; Liu et al. 2024, 2402.09353, eq. 5; and no more is changed."""
    tuned = write_adapter(tmp_path / "tuned", lit_tiny, targets, dora=dora)
    made = export(tuned, lit_tiny, folder(tmp_path / "out"), as_adapter=False)
    merged, expected = weights(tmp_path / "out"), formula(lit_tiny, tuned, 2.5)
    before = formula(lit_tiny, tuned, 0.0)
    assert merged.keys() == expected.keys()
    changed = 0
    for name, tensor in expected.items():
        assert merged[name].dtype == torch.float16
        if torch.equal(tensor, before[name]):
            assert torch.equal(merged[name], tensor), name
        else:
            changed += 1
            torch.testing.assert_close(merged[name], tensor, atol=1e-6, rtol=1e-3, msg=name)
    per_layer = {"attn.qkv": 3, "lm_head": 1 / 4, "wte": 1 / 4}  # these two are there once
    assert changed == sum(4 * per_layer.get(target, 1) for target in targets)
    source = json.loads((lit_tiny / "manifest.json").read_text())["source"]
    assert made == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert made["source"] == source and len(made["adapter"].pop("sha256")) == 64
    assert made["adapter"] == {"scale": 2.5}
    assert (tmp_path / "out" / "tokenizer.json").exists()


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("layout", [layout for layout in layouts.LAYOUTS.values() if layout.name != "lit"])
def test_the_base_may_have_any_layout(
    lit_tiny: Path, tmp_path: Path, layout: layouts.Layout, dora: bool
) -> None:
    tuned = write_adapter(tmp_path / "tuned", lit_tiny, EVERYWHERE, dora=dora)
    convert(lit_tiny, folder(tmp_path / "base"), layout=layout)
    export(tuned, tmp_path / "base", folder(tmp_path / "out"), as_adapter=False)
    merged, expected = weights(tmp_path / "out"), formula(lit_tiny, tuned, 2.5)
    for name, tensor in expected.items():
        torch.testing.assert_close(merged[name], tensor, atol=1e-6, rtol=1e-3, msg=name)


def test_rank_stabilized_scale(lit_tiny: Path, tmp_path: Path) -> None:
    """Kalajdzievski 2023, arXiv 2312.03732: alpha over the root of r."""
    tuned = write_adapter(tmp_path / "tuned", lit_tiny, r=9, use_rslora=True)
    export(tuned, lit_tiny, folder(tmp_path / "out"), as_adapter=False)
    for name, tensor in formula(lit_tiny, tuned, 5.0).items():
        torch.testing.assert_close(weights(tmp_path / "out")[name], tensor, atol=1e-6, rtol=1e-3)


def test_a_whole_model_is_converted(lit_tiny: Path, tmp_path: Path) -> None:
    chosen, tuned, out = (
        settings(method=Full(name="full")),
        folder(tmp_path / "tuned"),
        folder(tmp_path / "out"),
    )
    model = adapters.load_for_training(lit_tiny, chosen, torch.float32, torch.device("cpu"))
    torch.nn.init.normal_(model.lm_head.weight)
    adapters.save(model.state_dict(), lit_tiny, tuned, chosen)
    made = export(tuned, tmp_path / "no base needed", out, as_adapter=False)
    assert made["layout"] == "hub" and "adapter" not in made
    assert torch.equal(weights(out)["lm_head.weight"], model.lm_head.weight.half())
    assert made["digest"] == convert(tuned, folder(tmp_path / "again"))["digest"]
    with pytest.raises(SteadyPhiError, match=r"has a full model, .* but no adapter$"):
        export(tuned, lit_tiny, folder(tmp_path / "adapter"), as_adapter=True)


def test_adapter_files(lit_tiny: Path, tmp_path: Path) -> None:
    tuned = write_adapter(tmp_path / "tuned", lit_tiny, dora=True, lora_dropout=0.1)
    made = export(tuned, lit_tiny, folder(tmp_path / "out"), as_adapter=True)
    old, new = (load_file(path / "adapter_model.safetensors") for path in (tuned, tmp_path / "out"))
    ours, theirs = "transformer.h.1.attn.qkv.lora", "base_model.model.model.layers.1.self_attn"
    for n, which in enumerate("qkv"):
        assert torch.equal(new[f"{theirs}.{which}_proj.lora_A.weight"], old[f"{ours}_A.weight"])
        rows = old[f"{ours}_B.weight"][256 * n : 256 * (n + 1)]
        assert torch.equal(new[f"{theirs}.{which}_proj.lora_B.weight"], rows)
        lengths = old["transformer.h.1.attn.qkv.lora_magnitude_vector"][256 * n : 256 * (n + 1)]
        assert torch.equal(new[f"{theirs}.{which}_proj.lora_magnitude_vector"], lengths)
    assert len(new) == made["tensors"] == 4 * 6 * 3
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["dense", "fc1", "fc2", "k_proj", "q_proj", "v_proj"]
    source = json.loads((lit_tiny / "manifest.json").read_text())["source"]
    assert (config["task_type"], config["base_model_name_or_path"]) == ("CAUSAL_LM", source)
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (6, 15, 0.1)
    assert sorted(made["files"]) == ["adapter_config.json", "adapter_model.safetensors"]
    assert made == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o644}


@pytest.mark.parametrize(
    "targets, wanted",
    [
        (("mlp.proj",), ["fc2"]),
        (("lm_head", "attn.proj"), ["dense", "lm_head"]),
        (("wte", "attn.proj"), ["dense", "embed_tokens"]),
        (("h.0.mlp.fc", "h.2.mlp.fc"), ["model.layers.0.mlp.fc1", "model.layers.2.mlp.fc1"]),
    ],
)
def test_no_module_without_an_adapter_is_a_target(
    lit_tiny: Path, tmp_path: Path, targets: tuple[str, ...], wanted: list[str]
) -> None:
    tuned = write_adapter(tmp_path / "tuned", lit_tiny, targets)
    export(tuned, lit_tiny, folder(tmp_path / "out"), as_adapter=True)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["target_modules"] == wanted


def test_revision_of_the_base_and_a_base_without_manifest(lit_tiny: Path, tmp_path: Path) -> None:
    tuned = write_adapter(tmp_path / "tuned", lit_tiny)
    base = Path(shutil.copytree(lit_tiny, tmp_path / "base"))
    manifest.write(base, {**manifest.read(base), "source": "microsoft/phi-2", "revision": "810d367"})
    for name, expected in (("with", ("microsoft/phi-2", "810d367")), ("without", (str(base), None))):
        export(tuned, base, folder(tmp_path / name), as_adapter=True)
        config = json.loads((tmp_path / name / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == expected
        (base / "manifest.json").unlink(missing_ok=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_sum_that_the_type_cannot_hold_is_refused(lit_tiny: Path, tmp_path: Path, dtype: str) -> None:
    tuned = write_adapter(tmp_path / "tuned", lit_tiny)
    path = tuned / "adapter_model.safetensors"
    state = load_file(path)
    largest = torch.finfo(getattr(torch, dtype)).max
    state["transformer.h.2.attn.qkv.lora_B.weight"][300] = largest / 2  # a row of k's
    state["transformer.h.2.attn.qkv.lora_A.weight"][:] = 1.0
    save_file(state, path)
    convert(lit_tiny, folder(tmp_path / "base"), dtype)
    message = rf"layers\.2\.self_attn\.k_proj\.weight, merged with the adapter, has NaN .* beyond {dtype}$"
    with pytest.raises(SteadyPhiError, match=message):
        export(tuned, tmp_path / "base", folder(tmp_path / "out"), as_adapter=False)
