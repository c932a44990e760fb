"""Low-rank adapters around frozen layers: LoRA, with the scale of rsLoRA too, and DoRA.

LoRA (Hu et al. 2021, arXiv 2106.09685) adds scale · B A to a weight W: the scale is alpha / r, or
alpha / √r in rsLoRA (Kalajdzievski 2023, arXiv 2312.03732). DoRA (Liu et al. 2024, arXiv 2402.09353) learns
each row's length apart: m · (W + scale · B A) / ‖W + scale · B A‖, with no gradient through the norm.
Names, shapes, first values and results are those of the peft library; but the adapters, which are float32,
are rounded to the type that the layer computes in, where peft widens the layer's input to float32.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steadyphi.checkpoint.layouts import is_target
from steadyphi.settings.schema import Lora
from steadyphi.training.quantized import product, weight_of

LEAST = 1e-30  # of a squared norm; a row of zeros, as a token may have that no text has, stays one


def adapt(model: nn.Module, method: Lora) -> None:
    """Put an adapter around each of the model's layers that is a target; only adapters train then."""
    model.requires_grad_(False)
    for name, layer in list(model.named_modules()):
        if is_target(name, method.targets):
            parent, _, last = name.rpartition(".")
            kind = LoraEmbedding if isinstance(layer, nn.Embedding) else LoraLinear
            setattr(model.get_submodule(parent), last, kind(layer, method))


class Adapter(nn.Module):
    """A frozen layer in `base`, and what LoRA and DoRA need for Linears and tables alike.

    An adapted layer is no `nn.Linear`, and has no one weight: who would multiply by it calls the layer.
    """

    squares: Tensor

    def __init__(self, base: nn.Module, method: Lora) -> None:
        super().__init__()
        self.base = base
        self.scale = method.alpha / (math.sqrt(method.r) if method.rslora else method.r)
        self.lora_magnitude_vector: nn.Parameter | None = None

    def _start_dora(self, squares: Tensor) -> None:
        """squares: the squared norms of the rows of W, float32; the norms are what m begins with."""
        self.register_buffer("squares", squares, persistent=False)
        self.lora_magnitude_vector = nn.Parameter(squares.sqrt())

    def _stretch(self, magnitude: Tensor, a: Tensor, b: Tensor, product: Tensor) -> Tensor:
        """Return m / ‖W + scale · B A‖ for each row, float32; product: W Aᵀ, (rows, r).

        No sum of W's size is needed, for row by row ‖W + s B A‖² = ‖W‖² + 2 s B · W Aᵀ + s² B A Aᵀ · B.
        """
        with torch.no_grad(), torch.autocast(a.device.type, enabled=False):
            a, b = a.float(), b.float()
            mixed = torch.addmm(product.float(), b, a @ a.t(), beta=2 * self.scale, alpha=self.scale**2)
            norms = (self.squares + (mixed * b).sum(1)).clamp_min(LEAST).sqrt()
        return torch.where(self.squares > 0, magnitude / norms, 0.0)


class LoraLinear(Adapter):
    """A frozen Linear, in four bits too, with its adapter: (T, in) to (T, out)."""

    base: nn.Linear

    def __init__(self, base: nn.Linear, method: Lora) -> None:
        super().__init__(base, method)
        self.dropout = method.dropout
        # Drawn on the CPU: so a seed gives the same numbers on every device. A as every Linear begins.
        self.lora_A = nn.Linear(base.in_features, method.r, bias=False)
        self.lora_B = nn.Linear(method.r, base.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)
        if method.dora:
            self._start_dora(weight_of(base).float().square().sum(1))
        self.to(base.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(_computed_in(self.base, x.device))  # once; autocast would round it for every product
        a, b = self.lora_A.weight.to(x.dtype), self.lora_B.weight.to(x.dtype)
        dropped = F.dropout(x, self.dropout) if self.training and self.dropout else x
        narrow = F.linear(dropped, a)
        y = self.base(x)
        if self.lora_magnitude_vector is None:
            return torch.addmm(y, narrow, b.t(), alpha=self.scale)
        with torch.no_grad():
            base_product = product(self.base, a).t()
        stretch = self._stretch(self.lora_magnitude_vector, a, b, base_product)
        # All that DoRA changes is summed up before it meets y: on y itself, with its three digits, a row
        # that is lengthened a little would be rounded back.
        more = (stretch - 1).to(y.dtype)
        if dropped is x:
            change = torch.addcmul(-more * self.base.bias, y, more)
        else:  # as in peft, it is then the dropped input that is lengthened
            change = product(self.base, dropped) * more
        b = (stretch[:, None] * self.lora_B.weight).to(y.dtype)
        return y + torch.addmm(change, narrow, b.t(), alpha=self.scale)


class LoraEmbedding(Adapter):
    """A frozen table of embeddings with its adapter: (T,) ids to (T, width).

    Here W is the table transposed, as in peft: B is (width, r), A (r, rows of the table), and what DoRA
    calls a row is a column of the table.
    """

    base: nn.Embedding

    def __init__(self, base: nn.Embedding, method: Lora) -> None:
        super().__init__(base, method)
        self.lora_embedding_A = nn.Parameter(torch.zeros(method.r, base.num_embeddings))
        self.lora_embedding_B = nn.Parameter(torch.randn(base.embedding_dim, method.r))
        if method.dora:
            self._start_dora(base.weight.float().square().sum(0))
        self.to(base.weight.device)

    def forward(self, tokens: Tensor) -> Tensor:
        y = self.base(tokens)
        a, b = self.lora_embedding_A.to(y.dtype), self.lora_embedding_B.to(y.dtype)
        narrow = F.embedding(tokens, a.t())
        if self.lora_magnitude_vector is None:
            return torch.add(y, F.linear(narrow, b), alpha=self.scale)
        with torch.no_grad():
            base_product = (a @ self.base.weight.to(a.dtype)).t()
        stretch = self._stretch(self.lora_magnitude_vector, a, b, base_product)
        b = (stretch[:, None] * self.lora_embedding_B).to(y.dtype)
        return y + torch.add(y * (stretch - 1).to(y.dtype), F.linear(narrow, b), alpha=self.scale)


def _computed_in(base: nn.Linear, device: torch.device) -> torch.dtype:
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    chosen: torch.dtype = getattr(base, "compute_dtype", base.weight.dtype)  # the former of four bits
    return chosen
