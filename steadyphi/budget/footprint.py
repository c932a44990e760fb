"""Compute the peak memory of a fine-tuning step: one formula for `steadyphi inspect` and `compose`.

Memory peaks after the forward pass, while the loss is computed, or just after that, in the backward pass of
the last layer. It then holds the weights, gradients and moments, and all activations that the layers keep.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steadyphi.budget.loss_chunks import CHUNK, ROWS
from steadyphi.checkpoint import layouts
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, elements
from steadyphi.model_config import PhiConfig

if TYPE_CHECKING:
    from steadyphi.settings.groups import Lora

# Float32: the parameter, its gradient, and Adam's two moments (Kingma & Ba 2015, arXiv 1412.6980).
PARAMETER, GRADIENT, MOMENTS = 4, 4, 2 * 4
TRAINED_BYTES = PARAMETER + GRADIENT + MOMENTS
# Bytes per weight: four bits, plus eight bits per block of 64 weights, plus a float32 per 256 blocks
# (Dettmers et al. 2023, arXiv 2305.14314).
NF4 = 1 / 2 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class Step:
    """The properties of a step that its memory depends on.

    dtype: the dtype of matrix products, a key of `WEIGHT_BYTES`.
    tokens: the number of tokens in memory at once.
    lora: the adapter settings, or None if every weight is trained.
    added: the number of the adapters' parameters.
    dropout: whether the model's own dropout is on.
    checkpointing: whether activations are recomputed in the backward pass.
    ranks: the number of processes that shard weights, gradients and moments if every weight is trained.
    gpu: whether the step runs on a GPU; if not, it runs on a CPU.
    """

    dtype: str
    tokens: int
    lora: "Lora | None" = None
    added: int = 0
    dropout: bool = False
    checkpointing: bool = False
    ranks: int = 1
    gpu: bool = True

    @property
    def size(self) -> int:
        """The number of bytes of an element of `dtype`."""
        return WEIGHT_BYTES[self.dtype]


@dataclass(frozen=True)
class Footprint:
    """Bytes in one process.

    `weights` includes the weights' rounded copies. `activations` includes the activations' gradients.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def lasting(self) -> int:
        """The bytes that do not depend on the number of tokens in memory at once."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """The sum of all parts, in bytes."""
        return self.lasting + self.activations


def parameters(config: PhiConfig) -> int:
    """Return the number of parameters of a Phi of this shape."""
    return sum(map(elements, layouts.part_shapes(config).values()))


def linear_parameters(config: PhiConfig) -> int:
    """Return the number of parameters in linear layers, which autocast rounds; not embeddings or norms."""
    shapes = layouts.part_shapes(config)
    return sum(elements(s) for n, s in shapes.items() if "embed_tokens" not in n and "norm" not in n)


def adapter_parameters(config: PhiConfig, r: int, targets: Collection[str], dora: bool = False) -> int:
    """Return the number of parameters that LoRA adds: r × (rows + columns) for each target matrix.

    `targets` are suffixes of lit-gpt module names. With `dora`, each matrix also has a magnitude for each
    row; the embedding has one for each column.
    """
    added = 0
    for name, tensor in layouts.tensors(layouts.LIT, config).items():
        module, _, kind = name.rpartition(".")
        if kind == "weight" and layouts.is_target(module, targets):
            lengths = tensor.shape[tensor.pieces[0].part == layouts.EMBEDDING]
            added += r * sum(tensor.shape) + (lengths if dora else 0)
    return added


def footprint(config: PhiConfig, step: Step) -> Footprint:
    """Return the memory of one process at the peak of a step."""
    trained = step.added if step.lora else parameters(config)
    share = trained if step.lora else trained / step.ranks
    return Footprint(
        weights=round(_weights(config, step, share)),
        gradients=round(GRADIENT * share),
        optimizer=round(MOMENTS * share),
        activations=_activations(config, step),
    )


def _weights(config: PhiConfig, step: Step, share: float) -> float:
    count, copy = parameters(config), step.size if step.size < PARAMETER else 0
    in_matrices = config.n_layer * sum(a * b for a, b in _matrices(config).values())
    if step.lora:
        quantized = in_matrices if step.lora.name == "qlora" else 0
        return step.size * (count - quantized) + NF4 * quantized + (PARAMETER + copy) * share
    if step.ranks == 1:
        return PARAMETER * share + copy * linear_parameters(config)
    # FSDP gathers the current layer, the next one, and all weights outside the layers.
    apart = max(0, config.n_layer - 2) / config.n_layer * in_matrices
    return PARAMETER * share + step.size * (count - apart)


def _matrices(config: PhiConfig) -> dict[str, tuple[int, int]]:
    """Return the input and output sizes of a layer's matrices, by target name."""
    h, inner = config.n_embd, config.intermediate_size
    return {"attn.qkv": (h, 3 * h), "attn.proj": (h, h), "mlp.fc": (h, inner), "mlp.proj": (inner, h)}


def kept_by_layer(config: PhiConfig, step: Step) -> int:
    """Return the bytes per token that one layer keeps for its backward pass.

    If every weight is trained in bfloat16, a layer keeps, in bytes per unit of the width:

        4       the norm's input, in float32
        2 + 2   the norm's output, rounded once each for attention and MLP (in float32 they share it)
        6 + 4   q, k and v as one tensor, and q and k after the rotation
        2 + 2   the output of attention per head, and with the heads joined
        2 + 2   the MLP's inner activations before and after GELU, on four times the width

    and the masks of the two dropouts. A frozen matrix has no gradient, so its input is not kept, except if
    it has an adapter. An adapter keeps r elements per token, its dropout keeps a mask and a separate input,
    and DoRA keeps the output. On a CPU, a norm with bfloat16 weights is not computed in float32, and a
    dropout mask has the dtype of the activations instead of one byte per element.
    """
    h, size, matrices, lora = config.n_embd, step.size, _matrices(config), step.lora
    trained = {name: io for name, io in matrices.items() if lora is None or name in lora.targets}
    inputs, outputs = (sum(io[which] for io in trained.values()) for which in (0, 1))
    normed = size if lora and not step.gpu else PARAMETER  # bytes per element in and out of the norm
    mask = 1 if step.gpu else size
    kept = normed * h + size * (6 * h + config.intermediate_size + inputs)
    if normed == size and {"attn.qkv", "mlp.fc"} <= trained.keys() and not (lora and lora.dropout):
        kept -= size * h
    if step.dropout and config.resid_pdrop:
        kept += mask * 2 * h
    if lora:
        kept += size * lora.r * len(trained)
        kept += mask * inputs if lora.dropout else 0
        kept += size * outputs if lora.dora else 0
    return kept


def loss_bytes(config: PhiConfig, step: Step) -> int:
    """Return the bytes that computing the loss takes; see `steadyphi.training.loss`.

    The logits of a chunk, in `step.dtype`, are replaced by their gradients, which are computed in float32, on
    a CPU a few rows at a time. If the head is trained, memory also holds its gradient, accumulated in
    float32, and the contribution of one chunk. For a head with an adapter, autograd keeps the
    log-probabilities and two gradients.
    """
    width, chunk = config.n_embd, min(step.tokens, CHUNK)
    numbers = step.size * chunk + 4 * (chunk if step.gpu else min(chunk, ROWS))
    if step.lora is None:
        numbers += (4 + step.size) * width
    elif "lm_head" in step.lora.targets:
        numbers = 12 * chunk
    return config.padded_vocab_size * numbers


def _activations(config: PhiConfig, step: Step) -> int:
    h, inner, size, layer = config.n_embd, config.intermediate_size, step.size, kept_by_layer(config, step)
    between = size if step.lora else 4  # bytes per element between layers
    kept = step.tokens * config.n_layer * (between * h if step.checkpointing else layer)
    # The last norm's input and output, and the gradient of its output.
    loss = step.tokens * 3 * 4 * h + loss_bytes(config, step)
    # The gradients of a layer's input and output, and of the MLP's inner activations.
    backward = step.tokens * (8 * h + size * inner + (layer if step.checkpointing else 0))
    if step.lora and step.lora.name == "qlora":  # a matrix is dequantized for each product
        backward += size * h * inner
    return kept + max(loss, backward)
