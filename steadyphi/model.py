"""The complete model of Phi-1.5 and Phi-2.

Input tokens are packed: the documents of a batch are concatenated into a single row, and their lengths are
passed separately, so there is no padding and no attention mask. The tensors are named as in lit-gpt:
`transformer.wte`, `transformer.h.N.{norm_1,attn.qkv,attn.proj,mlp.fc,mlp.proj}`, `transformer.ln_f`,
`lm_head`, with `attn.qkv` as [Q; K; V] along its rows.

Phi differs from other transformers in these points: attention and MLP both read the output of one LayerNorm
and are added to the residual stream together; only the first part of every head is rotated; every linear
layer has a bias, including the head; the embedding and the head are separate matrices.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from steadyphi.errors import SteadyPhiError
from steadyphi.model_config import PhiConfig

WEIGHTS = "lit_model.pth"


class Context(Protocol):
    """The tokens' positions and what each attends to: `Documents` here; inference has a tree and a cache."""

    def rotate(self, x: Tensor) -> Tensor: ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor: ...


class Phi(nn.Module):
    """The language model: it maps token ids to hidden states or logits."""

    def __init__(self, config: PhiConfig) -> None:
        super().__init__()
        self.config = config
        self.lm_head = nn.Linear(config.n_embd, config.padded_vocab_size)
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.padded_vocab_size, config.n_embd),
                "h": nn.ModuleList(Block(config) for _ in range(config.n_layer)),
                "ln_f": nn.LayerNorm(config.n_embd, eps=config.norm_eps),
            }
        )

    def blocks(self) -> "list[Block]":
        """Return the layers in order."""
        return list(self.transformer["h"].children())  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.transformer["wte"].parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and of their outputs outside autocast."""
        return next(self.transformer["wte"].parameters()).dtype

    def hidden(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the final hidden states of packed documents.

        tokens: (T,) token ids of the concatenated documents.
        lengths: the number of tokens of each document; they sum to T, and none is above `config.block_size`.
        returns: (T, n_embd), after the final norm, the input of `lm_head`.
        """
        if sum(lengths) != len(tokens) or min(lengths) < 1 or max(lengths) > self.config.block_size:
            raise ValueError(f"lengths {list(lengths)[:8]} do not fit {len(tokens)} tokens and the context")
        return self.run(tokens, itertools.repeat(Documents(self.config, lengths, tokens.device)))

    def run(self, tokens: Tensor, contexts: Iterable["Context"]) -> Tensor:
        """Return the final hidden states (T, n_embd) of tokens (T,); each layer uses its own context."""
        x = self.transformer["wte"](tokens)
        x = F.dropout(x, self.config.embd_pdrop, self.training)
        for block, context in zip(self.transformer["h"].children(), contexts, strict=False):
            x = block(x, context)
        return self.transformer["ln_f"](x)

    def forward(self, tokens: Tensor, lengths: Sequence[int], at: Tensor | None = None) -> Tensor:
        """Return logits (T, padded_vocab_size), or (len(at), …) for the positions `at` only."""
        x = self.hidden(tokens, lengths)
        return self.lm_head(x if at is None else x[at])

    def init_weights(self, generator: torch.Generator, std: float = 0.02) -> None:
        """Initialize all weights as `transformers` does for a new Phi: normal(0, std), zero biases."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=std, generator=generator)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> "Phi":
        """Load a lit-gpt checkpoint folder (`config.json`, `lit_model.pth`) in evaluation mode.

        The file is memory-mapped, and loading it never runs code. Raises SteadyPhiError if the file cannot be
        read, or if a tensor is missing, unexpected or of the wrong shape.
        """
        path = folder / WEIGHTS
        try:
            state = torch.load(path, mmap=True, weights_only=True, map_location="cpu")
        except FileNotFoundError:
            raise SteadyPhiError(f"{path}: not found; run dvc repro") from None
        except (RuntimeError, UnpicklingError, EOFError) as error:  # not a zip, truncated, or contains code
            reason = str(error).strip().splitlines()[0]
            raise SteadyPhiError(f"{path}: cannot be read as weights ({reason})") from None
        with torch.device("meta"):
            model = cls(PhiConfig.from_folder(folder))
        try:
            model.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise SteadyPhiError(f"{path}: {' '.join(str(error).split())}") from None
        return model.to(device=device, dtype=dtype).eval()


class Block(nn.Module):
    """One layer: x + attention(norm(x)) + mlp(norm(x))."""

    def __init__(self, config: PhiConfig) -> None:
        super().__init__()
        self.resid_pdrop = config.resid_pdrop
        self.norm_1 = nn.LayerNorm(config.n_embd, eps=config.norm_eps)
        self.attn = Attention(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        normed = self.norm_1(x)
        attention = F.dropout(self.attn(normed, context), self.resid_pdrop, self.training)
        mlp = F.dropout(self.mlp(normed), self.resid_pdrop, self.training)
        return x + attention + mlp


class Attention(nn.Module):
    """Causal self-attention within a context, with rotary positions on part of every head."""

    def __init__(self, config: PhiConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q, k, v = self.qkv(x).view(len(x), 3, self.config.n_head, self.config.head_size).unbind(1)
        q, k = context.rotate(q), context.rotate(k)
        out = context.attend(q, k, v, self.config.attn_pdrop if self.training else 0.0)
        return self.proj(out.reshape(len(x), -1))


class MLP(nn.Module):
    """Two linear layers with the tanh approximation of GELU (`gelu_new`) between them."""

    def __init__(self, config: PhiConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(config.n_embd, config.intermediate_size)
        self.proj = nn.Linear(config.intermediate_size, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(F.gelu(self.fc(x), approximate="tanh"))


def backends(q: Tensor) -> list[SDPBackend]:
    """Return the attention kernels to choose from for queries q (n, n_head, length, head_size).

    On a CPU the backward pass of the fused kernel costs 0.7 ms per call, however short the document is. The
    math kernel is several times as fast up to a few hundred tokens.
    """
    if q.device.type == "cpu" and q.requires_grad and q.shape[2] <= 256:
        return [SDPBackend.MATH]
    return [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


FLASH_DEVICES = {"cuda"}  # the device types with a kernel for packed documents; tests add one for the CPU


def flash_over_documents(device: torch.device) -> Callable[..., Tensor] | None:
    """Return torch's attention over packed documents in half precision, None if `device` does not have it."""
    return _varlen_attn() if device.type in FLASH_DEVICES else None


@functools.cache
def _varlen_attn() -> Callable[..., Tensor] | None:
    try:  # imported here, because the import takes a second
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    # Torch 2.10 has `is_causal` instead of a window, and cannot return the logsumexp in the same way.
    return varlen_attn if "window_size" in inspect.signature(varlen_attn).parameters else None


class Rotary:
    """Rotary position embedding of queries and keys; positions (T,) are counted from 0."""

    def __init__(self, config: PhiConfig, positions: Tensor) -> None:
        exponents = torch.arange(0, config.rope_n_elem, 2, device=positions.device).float()
        angles = positions[:, None].float() * (1.0 / config.rope_base ** (exponents / config.rope_n_elem))
        angles = angles[:, None]  # (T, 1, rope_n_elem / 2): the same for each head
        self.cos, self.sin = angles.cos(), angles.sin()

    def rotate(self, x: Tensor) -> Tensor:
        """Rotate the first `rope_n_elem` dimensions of x (T, n_head, head_size), in float32.

        The first half is paired with the second half, as in GPT-NeoX (Su et al. 2021, arXiv 2104.09864,
        eq. 34).
        """
        half = self.cos.shape[-1]
        first, second = x[..., :half].float(), x[..., half : 2 * half].float()
        turned = (
            torch.addcmul(first * self.cos, second, self.sin, value=-1),
            torch.addcmul(second * self.cos, first, self.sin),
        )
        return torch.cat((*(part.to(x.dtype) for part in turned), x[..., 2 * half :]), dim=-1)


class Documents(Rotary):
    """The context of packed documents: token positions, and attention within each document.

    It is created once per forward pass and shared by all layers.
    """

    def __init__(self, config: PhiConfig, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths = list(lengths)
        self.longest = max(self.lengths)  # here, because torch.compile would specialize on the list's length
        sizes = torch.tensor(self.lengths, device=device)
        ends = sizes.cumsum(0)
        starts = torch.repeat_interleave(ends - sizes, sizes, output_size=sum(self.lengths))
        super().__init__(config, torch.arange(len(starts), device=device) - starts)
        self.bounds = F.pad(ends, (1, 0)).int()
        self.flash = flash_over_documents(device)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
        """Return the causal attention of q, k, v (T, n_head, head_size) within each document."""
        if self.flash is not None and q.dtype != torch.float32 and not dropout:
            # One kernel for all documents. (-1, 0) means any distance back and none ahead.
            limits = self.bounds, self.bounds, self.longest, self.longest
            return self.flash(q, k, v, *limits, window_size=(-1, 0))
        runs = [(length, len(list(group))) for length, group in itertools.groupby(self.lengths)]
        parts = []
        # `split` is used because the backward pass of each slice would write the whole row.
        for (length, _), *qkv in zip(
            runs, *(t.split([n * c for n, c in runs]) for t in (q, k, v)), strict=True
        ):
            # Adjacent documents of equal length share one call.
            a, b, c = (t.view(-1, length, *t.shape[1:]).transpose(1, 2) for t in qkv)
            with sdpa_kernel(backends(a)):
                out = F.scaled_dot_product_attention(a, b, c, dropout_p=dropout, is_causal=True)
            parts.append(out.transpose(1, 2).flatten(0, 1))
        return torch.cat(parts)
