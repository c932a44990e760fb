"""What was fine-tuned, exported, against the pipeline itself, transformers and peft."""

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from steadyphi.checkpoint import layouts, manifest
from steadyphi.checkpoint.convert import convert
from steadyphi.checkpoint.export import export
from steadyphi.errors import SteadyPhiError
from steadyphi.inference.load import load_tuned
from steadyphi.inspection.inspect import inspect
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig
from steadyphi.settings.groups import Full, Lora
from steadyphi.training import adapters
from tests.conftest import make_hub_folder
from tests.training.made import TARGETS, settings
from tests.training.test_lora import randomized, trained

TOKENS = torch.tensor([5, 900, 17, 17, 1279, 64, 3, 250, 31, 0, 77])
CPU = torch.device("cpu")
EVERYWHERE = (*TARGETS, "lm_head", "wte")
Change = Callable[[dict[str, Any], dict[str, Tensor]], None]


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def write_adapter(
    path: Path, base: Path, targets: Sequence[str] = TARGETS, r: int = 6, dora: bool = False, **config: Any
) -> Path:
    """Write an adapter as the pipeline does, by hand: random numbers, alpha / r = 2.5."""
    path.mkdir()
    torch.manual_seed(1)
    tensors = {}
    for name, tensor in layouts.tensors(layouts.LIT, PhiConfig.from_folder(base)).items():
        module, _, kind = name.rpartition(".")
        if kind == "weight" and f".{module}".endswith(tuple(f".{target}" for target in targets)):
            rows, columns = tensor.shape
            ends = ("lora_A.weight", "lora_B.weight")
            if module.endswith("wte"):
                rows, columns, ends = columns, rows, ("lora_embedding_A", "lora_embedding_B")
            tensors[f"{module}.{ends[0]}"] = 0.1 * torch.randn(r, columns)
            tensors[f"{module}.{ends[1]}"] = 0.1 * torch.randn(rows, r)
            if dora:
                tensors[f"{module}.lora_magnitude_vector"] = 1 + torch.rand(rows)
    save_file(tensors, path / "adapter_model.safetensors")
    values = {"peft_type": "LORA", "r": r, "lora_alpha": 15, "target_modules": list(targets)}
    (path / "adapter_config.json").write_text(json.dumps({**values, "use_dora": dora, **config}))
    return path


def weights(path: Path) -> dict[str, Tensor]:
    return dict(load_file(path / "model.safetensors"))


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
    found = {}
    renamed = {"attn.proj": "self_attn.dense", "mlp.fc": "mlp.fc1", "mlp.proj": "mlp.fc2"}
    renamed |= {"transformer.h": "model.layers", "norm_1": "input_layernorm"}
    renamed |= {"transformer.wte": "model.embed_tokens", "transformer.ln_f": "model.final_layernorm"}
    for name, tensor in state.items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        if "attn.qkv" in name:
            for which, part in zip("qkv", tensor.chunk(3), strict=True):
                found[name.replace("attn.qkv", f"self_attn.{which}_proj")] = part
        else:
            found[name] = tensor
    return found


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
    found, expected = weights(tmp_path / "out"), formula(lit_tiny, tuned, 2.5)
    before = formula(lit_tiny, tuned, 0.0)
    assert found.keys() == expected.keys()
    changed = 0
    for name, tensor in expected.items():
        assert found[name].dtype == torch.float16
        if torch.equal(tensor, before[name]):
            assert torch.equal(found[name], tensor), name
        else:
            changed += 1
            torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-3, msg=name)
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
    found, expected = weights(tmp_path / "out"), formula(lit_tiny, tuned, 2.5)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-3, msg=name)


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
    model = adapters.load_for_training(lit_tiny, chosen, torch.float32, CPU)
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


@dataclass(frozen=True)
class Exported:
    """A Hub folder, its lit-gpt form, an adapter that the pipeline saved, and both exports of it."""

    hub: Path
    lit: Path
    tuned: Path
    merged: Path
    adapter: Path


def export_both(path: Path, dtype: torch.dtype, **kind: Any) -> Exported:
    """A, B and lengths random, for with B of zeros nothing could go wrong."""
    made = Exported(*(path / name for name in ("hub", "lit", "tuned", "merged", "adapter")))
    make_hub_folder(made.hub, dtype)
    convert(made.hub, folder(made.lit))
    chosen = settings(method=Lora("lora", 6, 15, 0.1, **{"targets": TARGETS, **kind}))
    model = randomized(adapters.load_for_training(made.lit, chosen, torch.float32, CPU), seed=4)
    adapters.save(model.state_dict(), made.lit, folder(made.tuned), chosen)
    export(made.tuned, made.lit, folder(made.merged), as_adapter=False)
    export(made.tuned, made.lit, folder(made.adapter), as_adapter=True)
    return made


KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora everywhere": {"rslora": True, "targets": EVERYWHERE},
    "dora": {"dora": True},
    "dora, rslora everywhere": {"dora": True, "rslora": True, "targets": EVERYWHERE},
}


@pytest.fixture(scope="module", params=KINDS)
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_both(tmp_path_factory.mktemp("wide"), torch.float32, **KINDS[request.param])


@pytest.fixture(scope="module", params=[torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_both(tmp_path_factory.mktemp("narrow"), request.param)


def transformers_phi(path: Path) -> Any:
    import transformers

    model, problems = transformers.PhiForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(problems.values()), problems
    return model


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(TOKENS[None]).logits[0]


@pytest.mark.slow
def test_merged_has_the_logits_that_the_pipeline_evaluates(wide: Exported) -> None:
    ours = load_tuned(wide.lit, wide.tuned, torch.float32)
    with torch.no_grad():
        expected = ours(TOKENS, [len(TOKENS)])
    found = logits(transformers_phi(wide.merged))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (found - logits(transformers_phi(wide.hub))).abs().max() > 0.1


@pytest.mark.slow
def test_adapter_has_the_merged_models_logits_in_peft(wide: Exported) -> None:
    from peft import PeftModel

    expected = logits(transformers_phi(wide.merged))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft warns of keys that it misses
        model = PeftModel.from_pretrained(transformers_phi(wide.hub), str(wide.adapter))
    torch.testing.assert_close(logits(model), expected, atol=1e-5, rtol=0)
    with model.disable_adapter():
        assert (logits(model) - expected).abs().max() > 0.1


@pytest.mark.slow
def test_adapter_can_be_trained_further(wide: Exported) -> None:
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = PeftModel.from_pretrained(transformers_phi(wide.hub), str(wide.adapter), is_trainable=True)
    stored = load_file(wide.adapter / "adapter_model.safetensors")
    theirs = trained(model)
    assert theirs.keys() == stored.keys() and len(stored) >= 2 * 6 * 2
    for name, parameter in theirs.items():
        assert torch.equal(parameter, stored[name]), name
    assert model.active_peft_config.lora_dropout == 0.1
    model.train()(TOKENS[None], labels=TOKENS[None]).loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in theirs.values())


@pytest.mark.slow
def test_merged_bits_are_those_of_peft(narrow: Exported) -> None:
    """Merged by peft in transformers, in float32, then rounded: by way of the exported adapter."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(transformers_phi(narrow.hub), str(narrow.adapter))
    expected = model.merge_and_unload().state_dict()
    found = weights(narrow.merged)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name


@pytest.mark.slow
def test_merged_bits_are_those_that_the_pipeline_evaluates(narrow: Exported, tmp_path: Path) -> None:
    """Merged in our own model, where q, k and v are one."""
    convert(narrow.merged, folder(tmp_path / "lit"))
    stored = torch.load(tmp_path / "lit" / "lit_model.pth", weights_only=True)
    dtype = next(iter(stored.values())).dtype
    expected = load_tuned(narrow.lit, narrow.tuned, dtype).state_dict()
    before = Phi.load(narrow.lit, dtype).state_dict()
    assert stored.keys() == expected.keys()
    for name, tensor in stored.items():
        assert torch.equal(tensor, expected[name]), name
        adapted = name.endswith("weight") and (".attn." in name or ".mlp." in name)
        assert torch.equal(tensor, before[name]) != adapted, name
