"""Phi-1.5 and Phi-2, whole, in one file.

Tokens come packed: the documents of a batch one after the other in a single row, with their
lengths beside it, so there is no padding and no attention mask. The tensors are named as in
lit-gpt: `transformer.wte`, `transformer.h.N.{norm_1,attn.qkv,attn.proj,mlp.fc,mlp.proj}`,
`transformer.ln_f`, `lm_head`, with `attn.qkv` as [Q; K; V] along its rows.

What makes a Phi: attention and MLP both read one LayerNorm's output and are added to the
residual stream together; only the first part of every head is rotated; every Linear has a bias,
the head too; the embedding and the head are two matrices.
"""

import functools
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
    """Where tokens stand and what each attends to: `Documents` here; inference has a tree and a cache."""

    def rotate(self, x: Tensor) -> Tensor: ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor: ...


class Phi(nn.Module):
    """The language model: tokens in, hidden states or logits out."""

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
        """Return the layers, the first first."""
        return list(self.transformer["h"].children())  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.transformer["wte"].parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, and of what they compute outside autocast."""
        return next(self.transformer["wte"].parameters()).dtype

    def hidden(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the final hidden states of packed documents.

        tokens: (T,) token ids, the documents one after the other.
        lengths: tokens of each document; they sum to T, none above `config.block_size`.
        returns: (T, n_embd), normalized, ready for `lm_head`.
        """
        if sum(lengths) != len(tokens) or min(lengths) < 1 or max(lengths) > self.config.block_size:
            raise ValueError(f"lengths {list(lengths)[:8]} do not fit {len(tokens)} tokens and the context")
        return self.run(tokens, itertools.repeat(Documents(self.config, lengths, tokens.device)))

    def run(self, tokens: Tensor, contexts: Iterable["Context"]) -> Tensor:
        """Return the final hidden states (T, n_embd) of tokens (T,); each layer attends in its context."""
        x = self.transformer["wte"](tokens)
        x = F.dropout(x, self.config.embd_pdrop, self.training)
        for block, context in zip(self.transformer["h"].children(), contexts, strict=False):
            x = block(x, context)
        return self.transformer["ln_f"](x)

    def forward(self, tokens: Tensor, lengths: Sequence[int], at: Tensor | None = None) -> Tensor:
        """Return logits (T, padded_vocab_size), or (len(at), …) for the positions `at` alone."""
        x = self.hidden(tokens, lengths)
        return self.lm_head(x if at is None else x[at])

    def init_weights(self, generator: torch.Generator, std: float = 0.02) -> None:
        """Fill all weights as `transformers` does for a new Phi: normal(0, std), zero biases."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=std, generator=generator)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> "Phi":
        """Load a lit-gpt checkpoint folder (`config.json`, `lit_model.pth`) in evaluation mode.

        The file is memory-mapped and never unpickled as code. Raises SteadyPhiError when a
        tensor is missing, superfluous or of another shape.
        """
        path = folder / WEIGHTS
        try:
            state = torch.load(path, mmap=True, weights_only=True, map_location="cpu")
        except FileNotFoundError:
            raise SteadyPhiError(f"{path}: not found; run dvc repro") from None
        except (RuntimeError, UnpicklingError, EOFError) as error:  # no zip, cut short, or code in it
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
    """Two layers with the tanh approximation of GELU (`gelu_new`) between them."""

    def __init__(self, config: PhiConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(config.n_embd, config.intermediate_size)
        self.proj = nn.Linear(config.intermediate_size, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(F.gelu(self.fc(x), approximate="tanh"))


def backends(q: Tensor) -> list[SDPBackend]:
    """Return the attention kernels to choose from for queries q (n, n_head, length, head_size).

    On a CPU the backward of the fused kernel costs 0.7 ms a call however short the document is; the
    plain one is several times as fast up to a few hundred tokens.
    """
    if q.device.type == "cpu" and q.requires_grad and q.shape[2] <= 256:
        return [SDPBackend.MATH]
    return [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@functools.cache
def flash_over_documents() -> Callable[..., Tensor] | None:
    """Return torch's attention over packed documents (CUDA, half precision), None before torch 2.11."""
    try:  # here and not above, for the import takes a second
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


class Rotary:
    """Turns each token's queries and keys by its position: positions (T,), counted from 0."""

    def __init__(self, config: PhiConfig, positions: Tensor) -> None:
        exponents = torch.arange(0, config.rope_n_elem, 2, device=positions.device).float()
        angles = positions[:, None].float() * (1.0 / config.rope_base ** (exponents / config.rope_n_elem))
        angles = angles[:, None]  # (T, 1, rope_n_elem / 2): the same for each head
        self.cos, self.sin = angles.cos(), angles.sin()

    def rotate(self, x: Tensor) -> Tensor:
        """Rotate the first `rope_n_elem` dimensions of x (T, n_head, head_size), in float32.

        Half against half, as GPT-NeoX does (Su et al. 2021, arXiv 2104.09864, eq. 34).
        """
        half = self.cos.shape[-1]
        first, second = x[..., :half].float(), x[..., half : 2 * half].float()
        turned = (
            torch.addcmul(first * self.cos, second, self.sin, value=-1),
            torch.addcmul(second * self.cos, first, self.sin),
        )
        return torch.cat((*(part.to(x.dtype) for part in turned), x[..., 2 * half :]), dim=-1)


class Documents(Rotary):
    """Where the documents of a packed row begin: their positions and who may attend to whom.

    Made once a forward pass and shared by all layers.
    """

    def __init__(self, config: PhiConfig, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths = list(lengths)
        self.longest = max(self.lengths)  # here, for torch.compile would follow the list's length
        sizes = torch.tensor(self.lengths, device=device)
        ends = sizes.cumsum(0)
        starts = torch.repeat_interleave(ends - sizes, sizes, output_size=sum(self.lengths))
        super().__init__(config, torch.arange(len(starts), device=device) - starts)
        self.bounds = F.pad(ends, (1, 0)).int()

    def attend(self, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
        """Causal attention of q, k, v (T, n_head, head_size), each document for itself."""
        varlen_attn = flash_over_documents() if q.is_cuda and q.dtype != torch.float32 else None
        if varlen_attn is not None and not dropout:
            # One kernel over all documents; (-1, 0): any distance back, nothing ahead.
            limits = self.bounds, self.bounds, self.longest, self.longest
            return varlen_attn(q, k, v, *limits, window_size=(-1, 0))
        runs = [(length, len(list(group))) for length, group in itertools.groupby(self.lengths)]
        parts = []
        # `split`, for the backward of as many slices would write the whole row anew for each.
        for (length, _), *qkv in zip(
            runs, *(t.split([n * c for n, c in runs]) for t in (q, k, v)), strict=True
        ):
            # Neighbours of one length share a call.
            a, b, c = (t.view(-1, length, *t.shape[1:]).transpose(1, 2) for t in qkv)
            with sdpa_kernel(backends(a)):
                out = F.scaled_dot_product_attention(a, b, c, dropout_p=dropout, is_causal=True)
            parts.append(out.transpose(1, 2).flatten(0, 1))
        return torch.cat(parts)
