"""What a GPU can do, on paper and measured, and what a Phi asks of it."""

import time

import torch

from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig

# Dense bfloat16, TFLOP/s, from NVIDIA's data sheets; the first name that the card's name holds.
DATASHEET = {"H200": 989.0, "H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.0, "A100": 312.0}


def parameters(config: PhiConfig) -> int:
    """Return how many parameters a Phi of this shape has."""
    with torch.device("meta"):
        return sum(p.numel() for p in Phi(config).parameters())


def flops_per_token(config: PhiConfig, length: int) -> int:
    """Return the arithmetic of training all weights on one token of a text of `length`.

    As in PaLM (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), but with half the attention, for it is
    causal, and without the embedding, which is looked up.
    """
    products = parameters(config) - config.padded_vocab_size * config.n_embd
    return 6 * products + 6 * config.n_layer * config.n_embd * length


def card() -> dict[str, object]:
    """Return the card's name, its rate on paper and that of a large product, in TFLOP/s."""
    name = torch.cuda.get_device_name()
    size, times = 8192, 20
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for n in range(2 * times):
        if n == times:
            torch.cuda.synchronize()
            start = time.perf_counter()
        a @ b
    torch.cuda.synchronize()
    rate = times * 2 * size**3 / (time.perf_counter() - start) / 1e12
    del a, b
    torch.cuda.empty_cache()
    paper = next((peak for part, peak in DATASHEET.items() if part in name), None)
    return {"card": name, "datasheet_tflops": paper, "measured_tflops": round(rate)}
