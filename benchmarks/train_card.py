"""What a GPU can do, on paper and measured, and how large a Phi is."""

import time

import torch

from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig
from steadyphi.training.flops import peak_of


def parameters(config: PhiConfig) -> int:
    """Return how many parameters a Phi of this shape has."""
    with torch.device("meta"):
        return sum(p.numel() for p in Phi(config).parameters())


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
    paper = peak_of(name, torch.bfloat16)
    return {
        "card": name,
        "datasheet_tflops": paper and paper / 1e12,
        "measured_tflops": round(rate),
    }
