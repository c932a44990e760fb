"""How many bytes a fine-tuning step takes at its fullest: one formula for `steadyphi inspect` and `compose`.

It is fullest when the forward pass is done and the loss is computed, or just after, in the backward pass of
the last layer: weights, gradients and moments are there, and all that the layers keep.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steadyphi.budget.loss_chunks import CHUNK, ROWS
from steadyphi.checkpoint import layouts
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, elements
from steadyphi.model_config import PhiConfig

if TYPE_CHECKING:
    from steadyphi.settings.schema import Lora

# Float32: the parameter, its gradient, and Adam's two moments (Kingma & Ba 2015, arXiv 1412.6980).
PARAMETER, GRADIENT, MOMENTS = 4, 4, 2 * 4
TRAINED_BYTES = PARAMETER + GRADIENT + MOMENTS
# Four bits a number, eight a block of 64, a float32 for 256 blocks (Dettmers et al. 2023, arXiv 2305.14314).
NF4 = 1 / 2 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class Step:
    """What of a step its memory depends on.

    dtype: what matrix products are computed in, a key of `WEIGHT_BYTES`. tokens: in memory at once.
    lora: None where every weight trains; `added`: the adapters' parameters. dropout: the model's own is on.
    ranks: processes that share weights, gradients and moments, where every weight trains. summed: a process
    adds up whole gradients over several micro-batches before it shares them. gpu: or else a CPU.
    """

    dtype: str
    tokens: int
    lora: "Lora | None" = None
    added: int = 0
    dropout: bool = False
    checkpointing: bool = False
    ranks: int = 1
    summed: bool = False
    gpu: bool = True

    @property
    def size(self) -> int:
        """Bytes of a number that is computed with."""
        return WEIGHT_BYTES[self.dtype]


@dataclass(frozen=True)
class Footprint:
    """Bytes in one process. weights: with their rounded copies; activations: with the gradients of these."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def lasting(self) -> int:
        """What does not depend on how many tokens are in memory at once."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """All of it."""
        return self.lasting + self.activations


def parameters(config: PhiConfig) -> int:
    """Return how many parameters a Phi of this shape has."""
    return sum(map(elements, layouts.part_shapes(config).values()))


def linear_parameters(config: PhiConfig) -> int:
    """Return how many of them are in Linears, which autocast rounds: not the table and the norms."""
    shapes = layouts.part_shapes(config)
    return sum(elements(s) for n, s in shapes.items() if "embed_tokens" not in n and "norm" not in n)


def adapter_parameters(config: PhiConfig, r: int, targets: Collection[str], dora: bool = False) -> int:
    """Return how many parameters LoRA adds: r × (rows + columns) for each matrix that is a target.

    targets: ends of module names, as in lit-gpt. dora: a length for each row comes on top, of the embedding
    for each column.
    """
    added = 0
    for name, tensor in layouts.tensors(layouts.LIT, config).items():
        module, _, kind = name.rpartition(".")
        if kind == "weight" and layouts.is_target(module, targets):
            lengths = tensor.shape[tensor.pieces[0].part == layouts.EMBEDDING]
            added += r * sum(tensor.shape) + (lengths if dora else 0)
    return added


def footprint(config: PhiConfig, step: Step) -> Footprint:
    """Return what one process holds when a step is at its fullest."""
    trained = step.added if step.lora else parameters(config)
    share = trained if step.lora else trained / step.ranks
    return Footprint(
        weights=round(_weights(config, step, share)),
        gradients=round(GRADIENT * (trained if step.summed else share)),
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
    # FSDP gathers a layer and the next one, and what stands outside of the layers.
    apart = max(0, config.n_layer - 2) / config.n_layer * in_matrices
    return PARAMETER * share + step.size * (count - apart)


def _matrices(config: PhiConfig) -> dict[str, tuple[int, int]]:
    """Return the inputs and outputs of a layer's matrices, by the names of targets."""
    h, inner = config.n_embd, config.intermediate_size
    return {"attn.qkv": (h, 3 * h), "attn.proj": (h, h), "mlp.fc": (h, inner), "mlp.proj": (inner, h)}


def kept_by_layer(config: PhiConfig, step: Step) -> int:
    """Return the bytes a token that one layer keeps for its backward pass.

    In multiples of the width, in bfloat16, where every weight trains: the norm's input in float32 (4), its
    output rounded for each of attention and MLP (2 + 2; in float32 they share it), q, k, v as one and q and k
    rotated (6 + 4), attention's output as it comes and joined (2 + 2), the MLP's inner numbers before and
    after GELU (2 + 2, on four times the width); and the masks of the two dropouts. A frozen matrix needs no
    gradient and so not its input, but with an adapter it does; the adapter keeps r numbers, its dropout a
    mask and an input of its own, and DoRA the output. On a CPU a norm of bfloat16 weights is not widened,
    and a mask is made of numbers instead of bytes.
    """
    h, size, matrices, lora = config.n_embd, step.size, _matrices(config), step.lora
    wanted = {name: io for name, io in matrices.items() if lora is None or name in lora.targets}
    inputs, outputs = (sum(io[which] for io in wanted.values()) for which in (0, 1))
    normed = size if lora and not step.gpu else PARAMETER  # bytes of a number in and out of the norm
    mask = 1 if step.gpu else size
    kept = normed * h + size * (6 * h + config.intermediate_size + inputs)
    if normed == size and {"attn.qkv", "mlp.fc"} <= wanted.keys() and not (lora and lora.dropout):
        kept -= size * h
    if step.dropout and config.resid_pdrop:
        kept += mask * 2 * h
    if lora:
        kept += size * lora.r * len(wanted)
        kept += mask * inputs if lora.dropout else 0
        kept += size * outputs if lora.dora else 0
    return kept


def loss_bytes(config: PhiConfig, step: Step) -> int:
    """Return the bytes that computing the loss takes, see `steadyphi.training.loss`.

    A chunk's logits, in the type computed in, become their gradients in place by way of float32, on a CPU
    some rows at a time. Where the head trains, its gradient is summed up in float32, and a chunk's share of
    it is there beside. A head with an adapter is left to autograd: the logits' logarithms, two gradients.
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
    between = size if step.lora else 4  # what goes from layer to layer
    kept = step.tokens * config.n_layer * (between * h if step.checkpointing else layer)
    # The last norm's input and output, and the gradient of the latter.
    loss = step.tokens * 3 * 4 * h + loss_bytes(config, step)
    # The gradients about a layer, and within it of the MLP's inner numbers.
    backward = step.tokens * (8 * h + size * inner + (layer if step.checkpointing else 0))
    if step.lora and step.lora.name == "qlora":  # a matrix is widened for each product
        backward += size * h * inner
    return kept + max(loss, backward)
