"""Low-rank adapters around frozen layers: LoRA, rsLoRA and DoRA.

LoRA (Hu et al. 2021, arXiv 2106.09685) adds scale · B A to a weight W. The scale is alpha / r, or
alpha / √r in rsLoRA (Kalajdzievski 2023, arXiv 2312.03732). DoRA (Liu et al. 2024, arXiv 2402.09353) learns
the norm m of each row separately: m · (W + scale · B A) / ‖W + scale · B A‖, with no gradient through the
norm in the denominator. Parameter names, shapes, initial values and results match the peft library, with
one difference: the float32 adapters are rounded to the dtype that the layer computes in, whereas peft
converts the layer's input to float32.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steadyphi.checkpoint.layouts import is_target
from steadyphi.settings.schema import Lora
from steadyphi.training.quantized import product, weight_of

# The lower bound of a squared norm. A row of zeros (an unused token may have one) stays a row of zeros.
LEAST = 1e-30


def adapt(model: nn.Module, method: Lora) -> None:
    """Wrap each target layer of the model in an adapter and freeze all other parameters."""
    model.requires_grad_(False)
    for name, layer in list(model.named_modules()):
        if is_target(name, method.targets):
            parent, _, last = name.rpartition(".")
            kind = LoraEmbedding if isinstance(layer, nn.Embedding) else LoraLinear
            setattr(model.get_submodule(parent), last, kind(layer, method))


class Adapter(nn.Module):
    """The base class of adapted linear and embedding layers; `base` is the frozen layer.

    An adapted layer is not an `nn.Linear` and has no single weight. To multiply by it, call the layer.
    """

    squares: Tensor

    def __init__(self, base: nn.Module, method: Lora) -> None:
        super().__init__()
        self.base = base
        self.scale = method.alpha / (math.sqrt(method.r) if method.rslora else method.r)
        self.lora_magnitude_vector: nn.Parameter | None = None

    def _start_dora(self, squares: Tensor) -> None:
        """Initialize m with the row norms of W; `squares` holds the squared row norms, float32."""
        self.register_buffer("squares", squares, persistent=False)
        self.lora_magnitude_vector = nn.Parameter(squares.sqrt())

    def _stretch(self, magnitude: Tensor, a: Tensor, b: Tensor, product: Tensor) -> Tensor:
        """Return m / ‖W + scale · B A‖ for each row, float32. `product` is W Aᵀ, (rows, r).

        The sum W + s B A is never formed, because for each row
        ‖W + s B A‖² = ‖W‖² + 2 s B · W Aᵀ + s² B A Aᵀ · B.
        """
        with torch.no_grad(), torch.autocast(a.device.type, enabled=False):
            a, b = a.float(), b.float()
            mixed = torch.addmm(product.float(), b, a @ a.t(), beta=2 * self.scale, alpha=self.scale**2)
            norms = (self.squares + (mixed * b).sum(1)).clamp_min(LEAST).sqrt()
        return torch.where(self.squares > 0, magnitude / norms, 0.0)


class LoraLinear(Adapter):
    """A frozen linear layer, optionally quantized to four bits, with its adapter: (T, in) to (T, out)."""

    base: nn.Linear

    def __init__(self, base: nn.Linear, method: Lora) -> None:
        super().__init__(base, method)
        self.dropout = method.dropout
        # Initialized on the CPU, so that a seed gives the same values on every device. A keeps the
        # default initialization of nn.Linear.
        self.lora_A = nn.Linear(base.in_features, method.r, bias=False)
        self.lora_B = nn.Linear(method.r, base.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)
        if method.dora:
            self._start_dora(weight_of(base).float().square().sum(1))
        self.to(base.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(_computed_in(self.base, x.device))  # once, not by autocast for each product
        a, b = self.lora_A.weight.to(x.dtype), self.lora_B.weight.to(x.dtype)
        dropped = F.dropout(x, self.dropout) if self.training and self.dropout else x
        narrow = F.linear(dropped, a)
        y = self.base(x)
        if self.lora_magnitude_vector is None:
            return torch.addmm(y, narrow, b.t(), alpha=self.scale)
        with torch.no_grad():
            base_product = product(self.base, a).t()
        stretch = self._stretch(self.lora_magnitude_vector, a, b, base_product)
        # The whole change is summed before it is added to y. bfloat16 has about three digits, so scaling
        # y directly by a factor close to 1 would be rounded away.
        more = (stretch - 1).to(y.dtype)
        if dropped is x:
            change = torch.addcmul(-more * self.base.bias, y, more)
        else:  # as in peft, the scaling then applies to the input after dropout
            change = product(self.base, dropped) * more
        b = (stretch[:, None] * self.lora_B.weight).to(y.dtype)
        return y + torch.addmm(change, narrow, b.t(), alpha=self.scale)


class LoraEmbedding(Adapter):
    """A frozen embedding table with its adapter: (T,) token ids to (T, width).

    As in peft, W is the transposed table: B is (width, r), A is (r, rows of the table), and a row of W
    in DoRA is a column of the table.
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
    # Four-bit layers have compute_dtype.
    chosen: torch.dtype = getattr(base, "compute_dtype", base.weight.dtype)
    return chosen
