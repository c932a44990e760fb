"""The checkpoint layouts. A layout names the tensors of a Phi model and defines which are fused.

A Phi model has the same parts in every layout: the embedding, in each layer a norm, q, k, v, dense, fc1
and fc2, then the final norm and the head. Each has a weight and most have a bias. There is one table per
layout. It has the name of each part and whether q, k and v are one tensor. The same tables are used for
reading and writing, so adding a layout only requires adding a table.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from steadyphi.errors import SteadyPhiError
from steadyphi.model_config import PhiConfig

Kind = Literal["safetensors", "torch"]


@dataclass(frozen=True, eq=False)
class Layout:
    """A layout: its name, a description, and the names of its tensors without `.weight` or `.bias`.

    The keys of `names` are the parts. `qkv` is q, k and v concatenated by rows, as [q; k; v].
    `qkv_by_head` has the q, k and v of one head before those of the next head. In the values, {n} is the
    layer counted from 0, {m} is n + 1, and {last} is the number of layers plus 1.
    """

    name: str
    what: str
    files: Kind  # the format written; either can be read
    names: Mapping[str, str]
    buffers: tuple[str, ...] = field(default=("rotary_emb.inv_freq", "causal_mask"))  # computed, so not kept


_TODAY = {
    "embedding": "model.embed_tokens",
    "norm": "model.layers.{n}.input_layernorm",
    "q": "model.layers.{n}.self_attn.q_proj",
    "k": "model.layers.{n}.self_attn.k_proj",
    "v": "model.layers.{n}.self_attn.v_proj",
    "dense": "model.layers.{n}.self_attn.dense",
    "fc1": "model.layers.{n}.mlp.fc1",
    "fc2": "model.layers.{n}.mlp.fc2",
    "final_norm": "model.final_layernorm",
    "head": "lm_head",
}
_FUSED = {key: name for key, name in _TODAY.items() if key not in "qkv"}
_LIT = {
    "head": "lm_head",
    "embedding": "transformer.wte",
    "qkv": "transformer.h.{n}.attn.qkv",
    "dense": "transformer.h.{n}.attn.proj",
    "fc1": "transformer.h.{n}.mlp.fc",
    "fc2": "transformer.h.{n}.mlp.proj",
    "norm": "transformer.h.{n}.norm_1",
    "final_norm": "transformer.ln_f",
}
_OLD_LIT = {key: name for key, name in _LIT.items() if key != "qkv"}

HUB = Layout("hub", "the current Hub layout: q_proj, k_proj and v_proj", "safetensors", _TODAY)
FUSED = Layout(
    "hub-fused",
    "the earlier Hub layout: query_key_value, head by head",
    "safetensors",
    {**_FUSED, "qkv_by_head": "model.layers.{n}.self_attn.query_key_value"},
)
PHI_MSFT = Layout(
    "phi-msft",
    "the layout of Microsoft's code: transformer.h.N.mixer.Wqkv",
    "safetensors",
    {
        "embedding": "transformer.embd.wte",
        "norm": "transformer.h.{n}.ln",
        "qkv": "transformer.h.{n}.mixer.Wqkv",
        "dense": "transformer.h.{n}.mixer.out_proj",
        "fc1": "transformer.h.{n}.mlp.fc1",
        "fc2": "transformer.h.{n}.mlp.fc2",
        "final_norm": "lm_head.ln",
        "head": "lm_head.linear",
    },
)
MIXFORMER = Layout(
    "mixformer",
    "the layout of the first Phi-1.5: a sequence of layers",
    "safetensors",
    {
        "embedding": "layers.0.wte",
        "norm": "layers.{m}.ln",
        "qkv": "layers.{m}.mixer.Wqkv",
        "dense": "layers.{m}.mixer.out_proj",
        "fc1": "layers.{m}.mlp.fc1",
        "fc2": "layers.{m}.mlp.fc2",
        "final_norm": "layers.{last}.ln",
        "head": "layers.{last}.linear",
    },
)
LIT = Layout("lit", "the current LitGPT layout: attn.qkv is [q; k; v]", "torch", _LIT)
LEGACY = Layout(
    "legacy",
    "the earlier lit-gpt layout: attn.attn, head by head",
    "torch",
    {**_OLD_LIT, "qkv_by_head": "transformer.h.{n}.attn.attn"},
)
EMBEDDING = f"{_TODAY['embedding']}.weight"
LAYOUTS = {layout.name: layout for layout in (HUB, FUSED, PHI_MSFT, MIXFORMER, LIT, LEGACY)}


@dataclass(frozen=True)
class Piece:
    """A range of rows of a part. `part` is its current name on the Hub."""

    part: str
    start: int
    stop: int


@dataclass(frozen=True)
class Tensor:
    """A tensor of a layout: its shape, and the pieces that are concatenated by rows to form it.

    The pieces of a part are in ascending order without gaps.
    """

    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]


def tensors(layout: Layout, config: PhiConfig) -> dict[str, Tensor]:
    """Return all tensors of a Phi model in this layout, by name, in the order of the table."""
    shapes = part_shapes(config)
    result = {}
    for key, template, layer in _keys(layout, config):
        for kind in ("weight", "bias"):
            if key == "embedding" and kind == "bias":
                continue
            pieces = _pieces(key, layer, kind, config)
            parts = {piece.part for piece in pieces}
            rows = sum(shapes[part][0] for part in parts)
            name = f"{_format(template, layer, config)}.{kind}"
            result[name] = Tensor((rows, *shapes[pieces[0].part][1:]), pieces)
    return result


def part_shapes(config: PhiConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every part of a Phi model by its current name on the Hub."""
    width, inner, vocab = config.n_embd, config.intermediate_size, config.padded_vocab_size
    weights = {
        "embedding": (vocab, width),
        "norm": (width,),
        **dict.fromkeys(("q", "k", "v", "dense"), (width, width)),
        "fc1": (inner, width),
        "fc2": (width, inner),
        "final_norm": (width,),
        "head": (vocab, width),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for key, template, layer in _keys(HUB, config):
        name = _format(template, layer, config)
        shapes[f"{name}.weight"] = weights[key]
        if key != "embedding":
            shapes[f"{name}.bias"] = weights[key][:1]
    return shapes


def detect(names: Collection[str]) -> Layout:
    """Return the layout of a checkpoint from the names of its tensors.

    The layout with the most matching names in its first layer is returned. A file with a missing tensor
    is therefore still recognized, and the missing tensor can be reported.
    """

    def matches(layout: Layout) -> int:
        first = [t.format(n=0, m=1, last=-1) for t in layout.names.values()]
        return sum(f"{name}.{kind}" in names for name in first for kind in ("weight", "bias"))

    best = max(LAYOUTS.values(), key=matches)
    if matches(best) < 6:  # a few names are common to many models
        examples = ", ".join(sorted(names)[:3])
        raise SteadyPhiError(f"the tensors ({examples}, …) match no known layout of Phi")
    return best


def is_target(module: str, targets: Collection[str]) -> bool:
    """Return whether one of peft's target modules is this module: by its full name or the end of the name."""
    names = module.split(".")
    return any(".".join(names[start:]) in targets for start in range(len(names)))


def is_buffer(layout: Layout, name: str) -> bool:
    """Return whether a tensor is a buffer, which the model computes itself and which is not kept."""
    return name.endswith(layout.buffers)


def _keys(layout: Layout, config: PhiConfig) -> Iterator[tuple[str, str, int]]:
    """Yield (key, name, layer) in the order of the table, layer by layer."""
    entries = list(layout.names.items())
    layered = [i for i, (_, name) in enumerate(entries) if "{n}" in name or "{m}" in name]
    first, last = layered[0], layered[-1]
    yield from ((key, name, 0) for key, name in entries[:first])
    for layer in range(config.n_layer):
        yield from ((key, name, layer) for key, name in entries[first : last + 1])
    yield from ((key, name, 0) for key, name in entries[last + 1 :])


def _format(template: str, layer: int, config: PhiConfig) -> str:
    return template.format(n=layer, m=layer + 1, last=config.n_layer + 1)


def _pieces(key: str, layer: int, kind: str, config: PhiConfig) -> tuple[Piece, ...]:
    def part(which: str) -> str:
        return f"{_format(_TODAY[which], layer, config)}.{kind}"

    size, width = config.head_size, config.n_embd
    if key == "qkv":
        return tuple(Piece(part(which), 0, width) for which in "qkv")
    if key == "qkv_by_head":
        starts = range(0, width, size)
        return tuple(Piece(part(which), start, start + size) for start in starts for which in "qkv")
    rows = {"fc1": config.intermediate_size, "embedding": config.padded_vocab_size}
    rows["head"] = config.padded_vocab_size
    return (Piece(part(key), 0, rows.get(key, width)),)
