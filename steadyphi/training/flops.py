"""The arithmetic of a training step, and the peaks of known GPUs: what MFU is made of."""

import re
from collections.abc import Sequence

import torch

from steadyphi.budget.footprint import adapter_parameters
from steadyphi.model_config import PhiConfig
from steadyphi.settings.schema import Full, Lora

# TFLOP/s in bfloat16 (tensor cores, float32 sums, dense: half of what datasheets say "with sparsity") and in
# float32 (no tensor cores, for torch leaves TF32 off), by the names that torch.cuda.get_device_name gives. A
# GPU without bfloat16 in its tensor cores has None: it only emulates it.
PEAKS: dict[str, tuple[float | None, float]] = {
    # NVIDIA Tesla V100 datasheet (2020): SXM2, PCIe
    r"Tesla V100-SXM\d.*": (None, 15.7),
    r"Tesla V100-PCIE.*": (None, 14.0),
    r"Tesla T4": (None, 8.1),  # NVIDIA T4 datasheet (2019)
    r"NVIDIA A100.*|A100-.*": (312.0, 19.5),  # NVIDIA A100 datasheet (2021), PCIe and SXM alike
    r"NVIDIA A10": (125.0, 31.2),  # NVIDIA A10 datasheet (2021)
    r"NVIDIA L4": (121.0, 30.3),  # NVIDIA L4 datasheet (2023): 242 with sparsity
    r"NVIDIA L40S": (362.05, 91.6),  # NVIDIA L40S datasheet (2023): 362.05, 733 with sparsity
    # NVIDIA H100 datasheet (2024): 1,979 and NVL 1,671 with sparsity; PCIe: that of 2022, 1,513
    r"NVIDIA H100 80GB HBM3": (989.5, 67.0),
    r"NVIDIA H100 NVL": (835.5, 60.0),
    r"NVIDIA H100 PCIe": (756.5, 51.0),
    # NVIDIA H200 datasheet (2024): 1,979 and NVL 1,671 with sparsity
    r"NVIDIA H200": (989.5, 67.0),
    r"NVIDIA H200 NVL": (835.5, 60.0),
    r"NVIDIA B200": (2250.0, 75.0),  # NVIDIA Blackwell datasheet (2025), HGX B200: 4.5 PFLOP/s with sparsity
    # NVIDIA's white papers on GA102 (2021), Ada (2022) and RTX Blackwell (2025): dense, float32 accumulate
    r"NVIDIA GeForce RTX 3090": (71.0, 35.6),
    r"NVIDIA GeForce RTX 4090": (165.2, 82.6),
    r"NVIDIA GeForce RTX 5090": (209.5, 104.8),
}


def flops_per_step(config: PhiConfig, lengths: Sequence[int], supervised: int, method: Lora | Full) -> int:
    """Return the floating-point operations of a forward and backward pass over packed documents.

    lengths: tokens of each; supervised: how many of them have a loss, for the head runs only there. The
    model's own arithmetic, a product and a sum as 2 (Kaplan et al. 2020, arXiv 2001.08361; PaLM: Chowdhery et
    al. 2022, arXiv 2204.02311, appendix B): with N weights in matrices, T tokens, width h, document lengths L

        forward   2 N T + 2 h Σ L²   in each layer: Q Kᵀ and its product with V take 4 h L², of which a causal
                                     mask needs half (PaLM counts all of it, FlashAttention's authors half)
        backward  the same again for the gradients of the layers' inputs (of attention: twice, it has no
                  weights), and 2 N T for those of the weights that train: all, or the adapters' own

    What is computed twice, as by checkpointing, is counted once: it is no progress (MFU, not HFU). Left out
    are norms, biases and activations, less than a hundredth; and it is not deducted that nothing needs the
    gradient of the first layer's input where the embedding is frozen.
    """
    h, inner, tokens = config.n_embd, config.intermediate_size, sum(lengths)
    layers = config.n_layer * (4 * h * h + 2 * h * inner)
    products = layers * tokens + h * config.padded_vocab_size * supervised
    attention = 3 * config.n_layer * 2 * h * sum(length**2 for length in lengths)
    if isinstance(method, Full):
        return 6 * products + attention
    return 4 * products + 6 * _adapter_products(config, method, tokens, supervised) + attention


def _adapter_products(config: PhiConfig, method: Lora, tokens: int, supervised: int) -> int:
    """Return the products of a pass through the adapters; of the table's, A is looked up and B counts."""
    layers = [target for target in method.targets if target not in ("lm_head", "wte")]
    found = adapter_parameters(config, method.r, layers) * tokens
    if "lm_head" in method.targets:
        found += method.r * (config.n_embd + config.padded_vocab_size) * supervised
    return found + (method.r * config.n_embd * tokens if "wte" in method.targets else 0)


def peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """Return the most FLOP/s of a device in dense matrix products; None where that is not known."""
    return peak_of(torch.cuda.get_device_name(device), dtype) if device.type == "cuda" else None


def peak_of(name: str, dtype: torch.dtype) -> float | None:
    """Return the same of the GPU that torch calls `name`."""
    found = next((peaks for pattern, peaks in PEAKS.items() if re.fullmatch(pattern, name)), (None, None))
    number = {torch.bfloat16: found[0], torch.float32: found[1]}.get(dtype)
    return number * 1e12 if number else None
