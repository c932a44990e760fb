"""The config of a Phi model, and reading it from a config.json in the current Hub format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object

MOST_LAYERS, MOST = 1_000, 2**31  # larger values are wrong and would take too long to process


@dataclass(frozen=True)
class PhiConfig:
    """The sizes and rates of a Phi model.

    The names are those of lit-gpt, and those of Hugging Face for the dropout rates.
    """

    n_layer: int
    n_head: int
    n_embd: int
    intermediate_size: int
    padded_vocab_size: int
    block_size: int  # maximum context length in tokens
    rotary_percentage: float
    rope_base: float
    norm_eps: float
    embd_pdrop: float = 0.0
    attn_pdrop: float = 0.0
    resid_pdrop: float = 0.0

    @property
    def head_size(self) -> int:
        """The width of one attention head."""
        return self.n_embd // self.n_head

    @property
    def rope_n_elem(self) -> int:
        """The number of dimensions of a head that RoPE rotates."""
        return int(self.rotary_percentage * self.head_size)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read `config.json` of a Hub or lit-gpt checkpoint folder."""
        path = folder / "config.json"
        try:
            return cls.from_hub(read_object(path), path)
        except FileNotFoundError:
            raise SteadyPhiError(f"{path}: not found; a checkpoint folder needs its config.json") from None

    @classmethod
    def from_hub(cls, values: dict[str, Any], path: Path) -> Self:
        """Read the values of a `config.json` with model_type phi. Error messages name `path`.

        Raises SteadyPhiError for another architecture, a missing key, or a Phi variant that this
        project does not support (grouped key/value heads, QK layer norm, tied embeddings, scaled RoPE).
        """
        if values.get("model_type") != "phi":
            raise SteadyPhiError(
                f"{path}: model_type is {values.get('model_type')!r}; only 'phi' is supported"
            )
        heads = values.get("num_attention_heads")
        # transformers 5 groups the rotary settings in rope_parameters. Older files have them at top level.
        rope = values.get("rope_parameters") or {}
        if not isinstance(rope, dict):
            raise SteadyPhiError(f"{path}: rope_parameters: {rope!r} is not a group of settings")
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
        return config.checked(path)

    def checked(self, path: Path) -> Self:
        """Return this config. Raises SteadyPhiError, which names `path`, for invalid sizes or rates."""
        sizes = (self.n_layer, self.n_head, self.n_embd, self.intermediate_size, self.block_size)
        if not all(type(n) is int and n > 0 for n in (*sizes, self.padded_vocab_size)):
            raise SteadyPhiError(f"{path}: a size is not a positive whole number")
        if self.n_layer > MOST_LAYERS or max(sizes) > MOST or self.padded_vocab_size > MOST:
            raise SteadyPhiError(f"{path}: a size is too large for a Phi model")
        rates = [self.rotary_percentage, self.rope_base, self.norm_eps]
        rates += [self.embd_pdrop, self.attn_pdrop, self.resid_pdrop]
        if not all(type(x) in (int, float) and 0 <= x < float("inf") for x in rates):
            raise SteadyPhiError(f"{path}: a rate is not a number of zero or more")
        if self.n_embd % self.n_head:
            raise SteadyPhiError(f"{path}: width {self.n_embd} is not a multiple of {self.n_head} heads")
        return self
