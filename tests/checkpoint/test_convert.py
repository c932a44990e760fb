"""Fetch from a folder, and conversion: all tensors accounted for, logits as transformers'."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from steadyphi.checkpoint import hub, manifest
from steadyphi.checkpoint.convert import convert
from steadyphi.checkpoint.layouts import hub_parts
from steadyphi.errors import SteadyPhiError
from steadyphi.files import sha256
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig
from tests.conftest import make_hub_folder


def fetch(source: Path, into: Path) -> Path:
    into.mkdir()
    manifest.write(into, hub.fetch(str(source), None, into, into.parent / "cache"))
    return into


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    make_hub_folder(tmp_path / "hub")
    return tmp_path / "hub"


@pytest.mark.parametrize("shards", [1, 3])
def test_converted_logits_equal_transformers(tmp_path: Path, shards: int) -> None:
    reference = make_hub_folder(tmp_path / "hub", torch.float32, shards)
    assert (len(list((tmp_path / "hub").glob("*.safetensors"))) > 1) == (shards > 1)
    (tmp_path / "lit").mkdir()
    made = convert(fetch(tmp_path / "hub", tmp_path / "weights"), tmp_path / "lit", "keep")
    assert made["source_tensors"] == len(reference.state_dict()) == 2 * 14 + 5
    assert made["parameters"] == sum(p.numel() for p in reference.parameters())
    tokens = torch.randint(0, 97, (33,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference(tokens[None]).logits[0]
        torch.testing.assert_close(
            Phi.load(tmp_path / "lit", torch.float32)(tokens, [33]), expected, atol=1e-5, rtol=0
        )


@pytest.mark.parametrize(
    ("name", "layers", "tensors", "parameters"),
    [("phi-2", 32, 453, 2_779_683_840), ("phi-1_5", 24, 341, 1_418_270_720)],
)
def test_the_real_shapes(shared: Path, name: str, layers: int, tensors: int, parameters: int) -> None:
    config = PhiConfig.from_folder(shared / "hub" / name)
    parts = [part for lit in config.tensor_shapes() for part in hub_parts(lit)]
    assert len(parts) == len(set(parts)) == tensors
    assert sum(torch.Size(s).numel() for s in config.tensor_shapes().values()) == parameters
    assert (config.n_layer, config.rope_n_elem) == (layers, 32)
    if name == "phi-2":  # the real index names just these tensors
        index = json.loads((shared / "hub" / name / manifest.INDEX).read_text())
        assert set(parts) == set(index["weight_map"])
        assert config.resid_pdrop == 0.1


def test_model_config_is_litgpts(lit_tiny: Path) -> None:
    """The keys and values of litgpt 0.5's own Phi-2 entry (litgpt/config.py), sizes aside."""
    written = yaml.safe_load((lit_tiny / "model_config.yaml").read_text())
    fixed = {
        "bias": True,
        "lm_head_bias": True,
        "gelu_approximate": "tanh",
        "parallel_residual": True,
        "shared_attention_norm": True,
        "norm_class_name": "LayerNorm",
        "mlp_class_name": "GptNeoxMLP",
    }
    assert {key: written[key] for key in fixed} == fixed
    assert written["n_embd"] == 256 and written["padded_vocab_size"] == 1280


def test_dtype(hub_folder: Path, tmp_path: Path) -> None:
    weights = fetch(hub_folder, tmp_path / "weights")
    for asked, expected in (("keep", torch.float16), ("bfloat16", torch.bfloat16)):
        target = tmp_path / asked
        target.mkdir()
        made = convert(weights, target, asked)
        state = torch.load(target / "lit_model.pth", weights_only=True, mmap=True)
        assert {t.dtype for t in state.values()} == {expected}
        assert made["dtype"] == asked.replace("keep", "float16")
    # keep: the numbers themselves, bit for bit
    kept = torch.load(tmp_path / "keep" / "lit_model.pth", weights_only=True)
    shard = {k: v for path in hub_folder.glob("*.safetensors") for k, v in load_file(path).items()}
    q, k, v = kept["transformer.h.1.attn.qkv.weight"].chunk(3)
    for part, name in ((q, "q"), (k, "k"), (v, "v")):
        assert torch.equal(part, shard[f"model.layers.1.self_attn.{name}_proj.weight"])


def test_conversion_twice_gives_the_same_bytes(hub_folder: Path, tmp_path: Path) -> None:
    weights = fetch(hub_folder, tmp_path / "weights")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        convert(weights, tmp_path / name, "keep")
    files = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert "config.json" in files
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def change_shard(folder: Path, change: object) -> None:
    path = sorted(folder.glob("*.safetensors"))[0]
    tensors = load_file(path)
    name = change(tensors)  # type: ignore[operator]
    save_file(tensors, path)
    index = json.loads((folder / manifest.INDEX).read_text())
    if name in index["weight_map"] and name not in tensors:
        del index["weight_map"][name]
    elif name:
        index["weight_map"][name] = path.name
    (folder / manifest.INDEX).write_text(json.dumps(index))


def drop(tensors: dict[str, torch.Tensor]) -> str:
    name = next(n for n in tensors if "fc1.weight" in n)
    del tensors[name]
    return name


def add(tensors: dict[str, torch.Tensor]) -> str:
    tensors["model.layers.0.extra.weight"] = torch.zeros(2, dtype=torch.float16)
    return "model.layers.0.extra.weight"


def reshape(tensors: dict[str, torch.Tensor]) -> str:
    name = next(n for n in tensors if "fc1.weight" in n)
    tensors[name] = tensors[name].T.contiguous()
    return name


def widen(tensors: dict[str, torch.Tensor]) -> str:
    name = next(n for n in tensors if "fc1.weight" in n)
    tensors[name] = tensors[name].float()
    return name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "is missing"),
        (add, "belongs to no part"),
        (reshape, r"asks for \(640, 160\)"),
        (widen, "float32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    hub_folder: Path, tmp_path: Path, change: object, message: str
) -> None:
    change_shard(hub_folder, change)
    weights = fetch(hub_folder, tmp_path / "weights")
    (tmp_path / "lit").mkdir()
    with pytest.raises(SteadyPhiError, match=message) as caught:
        convert(weights, tmp_path / "lit", "keep")
    assert "model.layers." in str(caught.value) and "\n" not in str(caught.value)


def test_fetch_refuses_incomplete_and_escaping_folders(hub_folder: Path, tmp_path: Path) -> None:
    shard = sorted(hub_folder.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(SteadyPhiError, match=f"{shard.name}: is named by .* but not there"):
        fetch(hub_folder, tmp_path / "a")
    index = json.loads((hub_folder / manifest.INDEX).read_text())
    for bad in ("../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", 7, ["x"]):
        index["weight_map"]["lm_head.bias"] = bad
        (hub_folder / manifest.INDEX).write_text(json.dumps(index))
        with pytest.raises(SteadyPhiError, match="is not the name of a file"):
            fetch(hub_folder, tmp_path / f"b{len(str(bad))}")


def test_fetch_takes_no_code_and_no_pickle(hub_folder: Path, tmp_path: Path) -> None:
    for name in ("modeling_phi.py", "pytorch_model.bin", "README.md"):
        (hub_folder / name).write_text("x")
    weights = fetch(hub_folder, tmp_path / "weights")
    assert not {"modeling_phi.py", "pytorch_model.bin"} & {p.name for p in weights.iterdir()}
    files = manifest.read(weights)["files"]
    assert set(files) == {p.name for p in weights.iterdir()} - {"manifest.json"}
    for name, facts in files.items():
        assert facts == {"size": (weights / name).stat().st_size, "sha256": sha256(weights / name)}


def test_truncated_shard(hub_folder: Path, tmp_path: Path) -> None:
    shard = sorted(hub_folder.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    weights = fetch(hub_folder, tmp_path / "weights")
    (tmp_path / "lit").mkdir()
    with pytest.raises(SteadyPhiError, match="cannot be read"):
        convert(weights, tmp_path / "lit", "keep")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "only 'phi' is supported"),
        ({"num_key_value_heads": 1}, "num_key_value_heads"),
        ({"qk_layernorm": True}, "qk_layernorm"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 4.0}}, "rope_parameters"),
        ({"num_attention_heads": 0}, "no positive whole number"),
        ({"hidden_size": None}, "no positive whole number"),
        ({"num_attention_heads": 3}, "no multiple of 3 heads"),
    ],
)
def test_other_architectures_are_refused(phi_tiny: Path, change: dict[str, object], message: str) -> None:
    values = json.loads((phi_tiny / "config.json").read_text()) | change
    with pytest.raises(SteadyPhiError, match=message):
        PhiConfig.from_hub(values, phi_tiny / "config.json")


def test_a_pickle_with_code_is_not_executed(lit_tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(lit_tiny, tmp_path / "lit")

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "owned"),)  # type: ignore[return-value]

    torch.save({"lm_head.weight": Evil()}, tmp_path / "lit" / "lit_model.pth")
    with pytest.raises(SteadyPhiError, match="cannot be read"):
        Phi.load(tmp_path / "lit", torch.float32)
    assert not (tmp_path / "owned").exists()


def test_a_tokenizer_larger_than_the_model_is_refused(hub_folder: Path, tmp_path: Path) -> None:
    values = json.loads((hub_folder / "config.json").read_text()) | {"vocab_size": 100}
    (hub_folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(SteadyPhiError, match=r"tokens, config\.json.s vocab_size is 100$"):
        convert(fetch(hub_folder, tmp_path / "weights"), tmp_path / "lit", "keep")
