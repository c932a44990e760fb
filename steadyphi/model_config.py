"""The shape of a Phi, read from the Hub's config.json and written as lit-gpt's model_config.yaml."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from steadyphi.errors import SteadyPhiError


@dataclass(frozen=True)
class PhiConfig:
    """Sizes and rates of a Phi; the names are lit-gpt's, the dropouts Hugging Face's."""

    n_layer: int
    n_head: int
    n_embd: int
    intermediate_size: int
    padded_vocab_size: int
    block_size: int  # the longest context, in tokens
    rotary_percentage: float
    rope_base: float
    norm_eps: float
    embd_pdrop: float = 0.0
    attn_pdrop: float = 0.0
    resid_pdrop: float = 0.0

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    @property
    def rope_n_elem(self) -> int:
        """How many dimensions of a head are rotated."""
        return int(self.rotary_percentage * self.head_size)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read `config.json` of a Hub or lit-gpt checkpoint folder."""
        path = folder / "config.json"
        try:
            values = dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise SteadyPhiError(f"{path}: not found; a checkpoint folder needs its config.json") from None
        except (ValueError, TypeError) as error:
            raise SteadyPhiError(f"{path}: is not a JSON object ({error})") from None
        return cls.from_hub(values, path)

    @classmethod
    def from_hub(cls, values: dict[str, Any], path: Path) -> Self:
        """Read the values of a `config.json` with model_type phi; `path` is named in errors.

        Raises SteadyPhiError for another architecture, a missing key, or a Phi that this
        project does not compute (grouped key/value heads, QK layer norm, tied embeddings, scaled RoPE).
        """
        if values.get("model_type") != "phi":
            raise SteadyPhiError(
                f"{path}: model_type is {values.get('model_type')!r}; only 'phi' is supported"
            )
        heads = values.get("num_attention_heads")
        # transformers 5 writes the rotary settings into one group; older files have them flat.
        rope = values.get("rope_parameters") or {}
        unsupported = {
            "num_key_value_heads": values.get("num_key_value_heads") not in (None, heads),
            "qk_layernorm": bool(values.get("qk_layernorm")),
            "tie_word_embeddings": bool(values.get("tie_word_embeddings")),
            "rope_scaling": values.get("rope_scaling") is not None,
            "rope_parameters": rope.get("rope_type", "default") != "default",
            "hidden_act": values.get("hidden_act", "gelu_new") != "gelu_new",
        }
        for key, bad in unsupported.items():
            if bad:
                raise SteadyPhiError(f"{path}: {key}: {values[key]!r} is not a setting of Phi-1.5 or Phi-2")
        try:
            config = cls(
                n_layer=values["num_hidden_layers"],
                n_head=values["num_attention_heads"],
                n_embd=values["hidden_size"],
                intermediate_size=values["intermediate_size"],
                padded_vocab_size=values["vocab_size"],
                block_size=values["max_position_embeddings"],
                rotary_percentage=rope.get("partial_rotary_factor") or values["partial_rotary_factor"],
                rope_base=rope.get("rope_theta") or values["rope_theta"],
                norm_eps=values["layer_norm_eps"],
                embd_pdrop=values.get("embd_pdrop", 0.0),
                attn_pdrop=values.get("attention_dropout", 0.0),
                resid_pdrop=values.get("resid_pdrop", 0.0),
            )
        except KeyError as error:
            raise SteadyPhiError(f"{path}: {error.args[0]} is missing") from None
        sizes = (config.n_layer, config.n_head, config.n_embd, config.intermediate_size, config.block_size)
        if not all(isinstance(n, int) and n > 0 for n in (*sizes, config.padded_vocab_size)):
            raise SteadyPhiError(f"{path}: a size in it is no positive whole number")
        if config.n_embd % config.n_head:
            raise SteadyPhiError(
                f"{path}: hidden_size {config.n_embd} is no multiple of {config.n_head} heads"
            )
        return config

    def to_litgpt(self, name: str, hf_config: dict[str, str]) -> dict[str, Any]:
        """Return the content of lit-gpt's `model_config.yaml` (litgpt 0.5, `litgpt.config.Config`).

        The dropouts have no key there; they stay in config.json beside it.
        """
        return {
            "name": name,
            "hf_config": hf_config,
            "block_size": self.block_size,
            "n_layer": self.n_layer,
            "n_embd": self.n_embd,
            "n_head": self.n_head,
            "n_query_groups": self.n_head,
            "head_size": self.head_size,
            "vocab_size": self.padded_vocab_size,
            "padded_vocab_size": self.padded_vocab_size,
            "rotary_percentage": self.rotary_percentage,
            "rope_base": int(self.rope_base),
            "parallel_residual": True,
            "shared_attention_norm": True,
            "bias": True,
            "lm_head_bias": True,
            "norm_class_name": "LayerNorm",
            "norm_eps": self.norm_eps,
            "mlp_class_name": "GptNeoxMLP",
            "gelu_approximate": "tanh",
            "intermediate_size": self.intermediate_size,
        }

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of a lit-gpt checkpoint, by name, in the model's order."""
        width, inner, vocab = self.n_embd, self.intermediate_size, self.padded_vocab_size
        shapes: dict[str, tuple[int, ...]] = {"lm_head.weight": (vocab, width), "lm_head.bias": (vocab,)}
        shapes["transformer.wte.weight"] = (vocab, width)
        for layer in range(self.n_layer):
            for part, rows, columns in (
                ("attn.qkv", 3 * width, width),
                ("attn.proj", width, width),
                ("mlp.fc", inner, width),
                ("mlp.proj", width, inner),
            ):
                shapes[f"transformer.h.{layer}.{part}.weight"] = (rows, columns)
                shapes[f"transformer.h.{layer}.{part}.bias"] = (rows,)
            for kind in ("weight", "bias"):
                shapes[f"transformer.h.{layer}.norm_1.{kind}"] = (width,)
        for kind in ("weight", "bias"):
            shapes[f"transformer.ln_f.{kind}"] = (width,)
        return shapes
