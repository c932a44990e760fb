"""Every layout of a Phi made from transformers' state dict with torch alone: a reference for the tables."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT, hub_config, make_hub_folder

State = dict[str, torch.Tensor]
KINDS = ("weight", "bias")


def random_state(tmp_path: Path, dtype: torch.dtype = torch.float16) -> State:
    """Return the tensors of a random Phi as today's Hub has them."""
    make_hub_folder(tmp_path / "random", dtype, shards=1)
    return load_file(tmp_path / "random" / "model.safetensors")


def qkv(state: State, layer: int, kind: str) -> list[torch.Tensor]:
    return [state[f"model.layers.{layer}.self_attn.{x}_proj.{kind}"] for x in "qkv"]


def by_head(state: State, layer: int, kind: str) -> torch.Tensor:
    """Rows as view(n_head, 3, head_dim, …) has them."""
    heads = [x.view(2, 80, *x.shape[1:]) for x in qkv(state, layer, kind)]
    return torch.stack(heads, dim=1).reshape(-1, *heads[0].shape[2:]).contiguous()


def fused(state: State) -> State:
    made = {k: v for k, v in state.items() if not any(f"self_attn.{x}_proj" in k for x in "qkv")}
    for n in range(2):
        for kind in KINDS:
            made[f"model.layers.{n}.self_attn.query_key_value.{kind}"] = by_head(state, n, kind)
    return made


def phi_msft(state: State) -> State:
    made = {"transformer.embd.wte.weight": state["model.embed_tokens.weight"]}
    for kind in KINDS:
        made[f"lm_head.ln.{kind}"] = state[f"model.final_layernorm.{kind}"]
        made[f"lm_head.linear.{kind}"] = state[f"lm_head.{kind}"]
        for n in range(2):
            ours, theirs = f"model.layers.{n}", f"transformer.h.{n}"
            made[f"{theirs}.ln.{kind}"] = state[f"{ours}.input_layernorm.{kind}"]
            made[f"{theirs}.mixer.Wqkv.{kind}"] = torch.cat(qkv(state, n, kind))
            made[f"{theirs}.mixer.out_proj.{kind}"] = state[f"{ours}.self_attn.dense.{kind}"]
            made[f"{theirs}.mlp.fc1.{kind}"] = state[f"{ours}.mlp.fc1.{kind}"]
            made[f"{theirs}.mlp.fc2.{kind}"] = state[f"{ours}.mlp.fc2.{kind}"]
    made["transformer.h.0.mixer.rotary_emb.inv_freq"] = torch.ones(16)
    return made


def mixformer(state: State) -> State:
    msft = phi_msft(state)
    made = {"layers.0.wte.weight": msft.pop("transformer.embd.wte.weight")}
    for name, tensor in msft.items():
        if name.startswith("lm_head."):
            made[name.replace("lm_head.", "layers.3.")] = tensor
        else:
            _, _, n, rest = name.split(".", 3)
            made[f"layers.{int(n) + 1}.{rest}"] = tensor
    return made


def lit(state: State, old: bool = False) -> State:
    made = {f"lm_head.{kind}": state[f"lm_head.{kind}"] for kind in KINDS}
    made["transformer.wte.weight"] = state["model.embed_tokens.weight"]
    for kind in KINDS:
        made[f"transformer.ln_f.{kind}"] = state[f"model.final_layernorm.{kind}"]
        for n in range(2):
            ours, theirs = f"model.layers.{n}", f"transformer.h.{n}"
            made[f"{theirs}.norm_1.{kind}"] = state[f"{ours}.input_layernorm.{kind}"]
            joined = by_head(state, n, kind) if old else torch.cat(qkv(state, n, kind))
            made[f"{theirs}.attn.{'attn' if old else 'qkv'}.{kind}"] = joined
            made[f"{theirs}.attn.proj.{kind}"] = state[f"{ours}.self_attn.dense.{kind}"]
            made[f"{theirs}.mlp.fc.{kind}"] = state[f"{ours}.mlp.fc1.{kind}"]
            made[f"{theirs}.mlp.proj.{kind}"] = state[f"{ours}.mlp.fc2.{kind}"]
    return made


MAKERS: dict[str, Any] = {
    "hub": dict,
    "hub-fused": fused,
    "phi-msft": phi_msft,
    "mixformer": mixformer,
    "lit": lit,
    "legacy": lambda state: lit(state, old=True),
}
MIXFORMER_CONFIG = {  # the keys of the first Phi-1.5's config.json
    "model_type": "mixformer-sequential",
    "architecture": {"block_cls": "parallel", "mixer": {}, "mlp": {"mlp_cls": "mlp"}},
    "activation_function": "gelu_new",
    "embd_layer": "default",
    "embd_pdrop": 0.0,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "n_embd": 160,
    "n_head": 2,
    "n_inner": None,
    "n_layer": 2,
    "n_positions": 512,
    "phyagi_version": "0.0.4.dev",
    "resid_pdrop": 0.0,
    "rotary_dim": 32,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "vocab_size": 1280,
}


def config_of(layout: str) -> tuple[str, str]:
    """Return the name and the text of the file that gives the shape in a layout's folder."""
    if layout == "mixformer":
        return "config.json", json.dumps(MIXFORMER_CONFIG)
    if layout == "phi-msft":
        values = {k: v for k, v in MIXFORMER_CONFIG.items() if k not in ("architecture", "embd_layer")}
        return "config.json", json.dumps({**values, "model_type": "phi-msft", "n_head_kv": None})
    lit_values = {"n_layer": 2, "n_head": 2, "n_embd": 160, "intermediate_size": 640, "bias": True}
    lit_values |= {"padded_vocab_size": 1280, "block_size": 512, "rotary_percentage": 0.4, "norm_eps": 1e-05}
    lit_values |= {"rope_base": 10000, "parallel_residual": True, "shared_attention_norm": True}
    if layout == "lit":
        return "model_config.yaml", yaml.safe_dump({**lit_values, "norm_class_name": "LayerNorm"})
    if layout == "legacy":
        return "lit_config.json", json.dumps({**lit_values, "_norm_class": "LayerNorm"})
    return "config.json", json.dumps(hub_config(resid_pdrop=0.0))


def save(folder: Path, state: State, how: str) -> None:
    """Write tensors as `safetensors` or `bin`, one file or `-shards`, or as lit-gpt's `pth`."""
    if how == "pth":
        torch.save(state, folder / "lit_model.pth")
        return
    suffix, stem = (".safetensors", "model") if "safetensors" in how else (".bin", "pytorch_model")
    names = sorted(state)
    groups = [names[::2], names[1::2]] if how.endswith("-shards") else [names]
    where = {}
    for n, group in enumerate(groups, 1):
        name = f"{stem}-{n:05}-of-00002{suffix}" if len(groups) > 1 else f"{stem}{suffix}"
        where |= dict.fromkeys(group, name)
        part = {key: state[key].clone() for key in group}
        if suffix == ".bin":
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name, metadata={"format": "pt"})
    if len(groups) > 1:
        size = sum(t.nbytes for t in state.values())
        index = {"metadata": {"total_size": size}, "weight_map": where}
        (folder / f"{stem}{suffix}.index.json").write_text(json.dumps(index))


def make(folder: Path, state: State, layout: str, how: str) -> Path:
    """Write a checkpoint of `state` in a layout, with its configuration and phi-tiny's tokenizer."""
    folder.mkdir(parents=True)
    save(folder, MAKERS[layout](state), how)
    name, text = config_of(layout)
    (folder / name).write_text(text)
    for path in (ROOT / "assets" / "phi-tiny").glob("*token*.json"):
        shutil.copyfile(path, folder / path.name)
    return folder


def load(folder: Path) -> State:
    """Read a checkpoint back with the libraries of its format."""
    if (folder / "lit_model.pth").exists():
        return dict(torch.load(folder / "lit_model.pth", weights_only=True))
    return {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}


def assert_equal(state: State, expected: State) -> None:
    """Every tensor there, none besides, every bit the same."""
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype and torch.equal(state[name], tensor), name
