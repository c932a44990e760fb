"""Reads and writes the config files of a checkpoint, in the format of each supported tool."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from steadyphi.checkpoint.layouts import LEGACY, LIT, MIXFORMER, PHI_MSFT, Layout
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object, write_json, write_text
from steadyphi.model_config import PhiConfig

HUB_FILE, LIT_FILE, LEGACY_FILE = "config.json", "model_config.yaml", "lit_config.json"
FILES = (HUB_FILE, LIT_FILE, LEGACY_FILE)

# PhiConfig field -> key in the config of Microsoft's code.
MICROSOFT = {
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
    "block_size": "n_positions",
    "padded_vocab_size": "vocab_size",
    "norm_eps": "layer_norm_epsilon",
    "embd_pdrop": "embd_pdrop",
    "resid_pdrop": "resid_pdrop",
}
# lit-gpt config keys. PhiConfig uses the same names.
LITGPT = ["n_layer", "n_head", "n_embd", "intermediate_size", "padded_vocab_size", "block_size"]
LITGPT += ["rotary_percentage", "rope_base", "norm_eps"]
# lit-gpt settings that are the same for every Phi model.
_LIT_PHI = {
    "parallel_residual": True,
    "shared_attention_norm": True,
    "bias": True,
    "lm_head_bias": True,
    "gelu_approximate": "tanh",
}


def read(folder: Path) -> PhiConfig:
    """Return the config of a checkpoint folder.

    config.json takes precedence because only it has the dropout rates. A lit-gpt config file in the
    same folder must agree with it.
    """
    stated = {name: shape(values(folder / name), folder / name) for name in FILES if (folder / name).exists()}
    if not stated:
        raise SteadyPhiError(f"{folder / HUB_FILE}: not found; a checkpoint folder needs its {HUB_FILE}")
    for problem in disagreements(stated, folder):
        raise SteadyPhiError(problem)
    return next(iter(stated.values()))


def shape(settings: dict[str, Any], path: Path) -> PhiConfig:
    """Return the PhiConfig for the content of one of `FILES`."""
    return _from_hub(settings, path) if path.name == HUB_FILE else _from_litgpt(settings, path)


def disagreements(stated: Mapping[str, PhiConfig], folder: Path) -> Iterator[str]:
    """Yield the differences between the first config file of a folder and the others, as read by `shape`."""
    (first, config), *others = stated.items()
    for name, other in others:
        for key in LITGPT:
            ours, theirs = getattr(config, key), getattr(other, key)
            if not math.isclose(ours, theirs):
                yield f"{folder}: {first} says {key} is {ours}, {name} {theirs}; remove the wrong one"


def write(
    folder: Path, layout: Layout, config: PhiConfig, original: Path, *, name: str, dtype: str, eos_id: int
) -> None:
    """Write the config files that the tools for this layout read.

    original: the source folder. If its config.json has the same model type, its other settings are kept.
    name: the repository name, such as microsoft/phi-2.
    eos_id: the id of the end-of-text token, which lit-gpt's config files do not contain.
    """
    org, _, model = name.rpartition("/")
    if layout is LIT:
        write_text(folder / LIT_FILE, yaml.safe_dump(to_litgpt(config, org or model, model)))
    elif layout is LEGACY:
        write_json(folder / LEGACY_FILE, to_legacy_litgpt(config, org or model, model))
    old = values(original / HUB_FILE) if (original / HUB_FILE).exists() else {}
    kinds = {PHI_MSFT: "phi-msft", MIXFORMER: "mixformer-sequential"}
    kind = kinds.get(layout, "phi")
    if old.get("model_type") != kind:
        content = to_hub(config, eos_id) if kind == "phi" else to_microsoft(config, kind)
    else:
        content = old
    key = "dtype" if "dtype" in content else "torch_dtype"  # transformers 5 renamed torch_dtype to dtype
    if content is old and content.get(key) == dtype:
        write_text(folder / HUB_FILE, (original / HUB_FILE).read_text(encoding="utf-8"))
    else:
        write_json(folder / HUB_FILE, {**content, key: dtype})


def values(path: Path) -> dict[str, Any]:
    """Return the content of a JSON or YAML config file. Raises SteadyPhiError when it cannot be read."""
    try:
        return read_object(path)
    except OSError as error:
        raise SteadyPhiError(f"{path}: cannot be read as settings ({error.strerror})") from None


def _from_hub(settings: dict[str, Any], path: Path) -> PhiConfig:
    if settings.get("model_type") in ("phi-msft", "mixformer-sequential"):
        return _from_microsoft(settings, path)
    return PhiConfig.from_hub(settings, path)


def _from_microsoft(settings: dict[str, Any], path: Path) -> PhiConfig:
    _refuse(
        path,
        settings,
        n_head_kv=settings.get("n_head_kv") not in (None, settings.get("n_head")),
        tie_word_embeddings=bool(settings.get("tie_word_embeddings")),
        activation_function=settings.get("activation_function", "gelu_new") != "gelu_new",
    )
    try:
        fields = {field: settings[key] for field, key in MICROSOFT.items()}
        multiple = settings.get("pad_vocab_size_multiple") or 1
        fields["padded_vocab_size"] = -(-settings["vocab_size"] // multiple) * multiple
        return PhiConfig(
            **fields,
            intermediate_size=settings.get("n_inner") or 4 * settings["n_embd"],
            rotary_percentage=settings["rotary_dim"] * settings["n_head"] / settings["n_embd"],
            rope_base=10000.0,  # a constant in Microsoft's code
            attn_pdrop=settings.get("attn_pdrop", 0.0),
        ).checked(path)
    except KeyError as error:
        raise SteadyPhiError(f"{path}: {error.args[0]} is missing") from None
    except (TypeError, ZeroDivisionError) as error:
        raise SteadyPhiError(f"{path}: a size is not a positive whole number ({error})") from None


def _from_litgpt(settings: dict[str, Any], path: Path) -> PhiConfig:
    wrong = {key: settings.get(key, value) != value for key, value in _LIT_PHI.items()}
    wrong["n_query_groups"] = settings.get("n_query_groups") not in (None, settings.get("n_head"))
    _refuse(path, settings, **wrong)
    try:
        return PhiConfig(**{key: settings[key] for key in LITGPT}).checked(path)
    except KeyError as error:
        raise SteadyPhiError(f"{path}: {error.args[0]} is missing") from None


def _refuse(path: Path, settings: Mapping[str, Any], **wrong: bool) -> None:
    for key, is_wrong in wrong.items():
        if is_wrong:
            raise SteadyPhiError(f"{path}: {key}: {settings[key]!r} is not a setting of Phi-1.5 or Phi-2")


def to_litgpt(config: PhiConfig, org: str, name: str) -> dict[str, Any]:
    """Return the content of lit-gpt's `model_config.yaml` (litgpt 0.5, `litgpt.config.Config`).

    The file has no keys for the dropout rates. They stay in config.json in the same folder.
    """
    return {
        "name": name,
        "hf_config": {"org": org, "name": name},
        **_lit_sizes(config),
        "head_size": config.head_size,
        "norm_class_name": "LayerNorm",
        "mlp_class_name": "GptNeoxMLP",
    }


def to_legacy_litgpt(config: PhiConfig, org: str, name: str) -> dict[str, Any]:
    """Return the content of `lit_config.json`, which lit-gpt wrote until the beginning of 2024."""
    return {
        "org": org,
        "name": name,
        **_lit_sizes(config),
        "padding_multiple": 64,
        "_norm_class": "LayerNorm",
        "_mlp_class": "GptNeoxMLP",
        "rope_condense_ratio": 1,
    }


def _lit_sizes(config: PhiConfig) -> dict[str, Any]:
    return {
        **{key: getattr(config, key) for key in LITGPT},
        "rope_base": int(config.rope_base),
        "n_query_groups": config.n_head,
        "vocab_size": config.padded_vocab_size,
        **_LIT_PHI,
    }


def to_hub(config: PhiConfig, eos_id: int) -> dict[str, Any]:
    """Return the config.json for PhiForCausalLM in transformers. It needs no code from the repository."""
    return {
        "architectures": ["PhiForCausalLM"],
        "model_type": "phi",
        "attention_dropout": config.attn_pdrop,
        "bos_token_id": eos_id,
        "embd_pdrop": config.embd_pdrop,
        "eos_token_id": eos_id,
        "hidden_act": "gelu_new",
        "hidden_size": config.n_embd,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "layer_norm_eps": config.norm_eps,
        "max_position_embeddings": config.block_size,
        "num_attention_heads": config.n_head,
        "num_hidden_layers": config.n_layer,
        "num_key_value_heads": config.n_head,
        "partial_rotary_factor": config.rotary_percentage,
        "qk_layernorm": False,
        "resid_pdrop": config.resid_pdrop,
        "rope_scaling": None,
        "rope_theta": config.rope_base,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": config.padded_vocab_size,
    }


def to_microsoft(config: PhiConfig, model_type: str) -> dict[str, Any]:
    """Return the config.json for Microsoft's code."""
    return {
        "model_type": model_type,
        **{key: getattr(config, field) for field, key in MICROSOFT.items()},
        "n_inner": config.intermediate_size,
        "rotary_dim": config.rope_n_elem,
        "attn_pdrop": config.attn_pdrop,
        "activation_function": "gelu_new",
        "initializer_range": 0.02,
        "tie_word_embeddings": False,
    }
