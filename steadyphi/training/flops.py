"""The FLOPs of a training step and the peak FLOP/s of known GPUs, from which MFU is computed."""

import re
from collections.abc import Sequence

import torch

from steadyphi.budget.footprint import adapter_parameters
from steadyphi.model_config import PhiConfig
from steadyphi.settings.schema import Full, Lora

# Peak TFLOP/s in bfloat16 and in float32, by the name that torch.cuda.get_device_name returns. bfloat16 means
# tensor cores with float32 accumulation, dense (half of the datasheets' values "with sparsity"). It is None
# for a GPU whose tensor cores lack bfloat16, because the GPU only emulates it. float32 means no tensor cores,
# because torch leaves TF32 off.
PEAKS: dict[str, tuple[float | None, float]] = {
    # NVIDIA Tesla V100 datasheet (2020): SXM2, PCIe
    r"Tesla V100-SXM\d.*": (None, 15.7),
    r"Tesla V100-PCIE.*": (None, 14.0),
    r"Tesla T4": (None, 8.1),  # NVIDIA T4 datasheet (2019)
    r"NVIDIA A100.*|A100-.*": (312.0, 19.5),  # NVIDIA A100 datasheet (2021), both PCIe and SXM
    r"NVIDIA A10": (125.0, 31.2),  # NVIDIA A10 datasheet (2021)
    r"NVIDIA L4": (121.0, 30.3),  # NVIDIA L4 datasheet (2023): 242 with sparsity
    r"NVIDIA L40S": (362.05, 91.6),  # NVIDIA L40S datasheet (2023): 362.05, 733 with sparsity
    # NVIDIA H100 datasheet (2024): 1,979 and NVL 1,671 with sparsity; PCIe: datasheet of 2022, 1,513
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

    `lengths` holds the number of tokens of each document. `supervised` is the number of tokens with a loss;
    the head runs only at these. The count covers the operations of the model itself, with a multiply-add as 2
    (Kaplan et al. 2020, arXiv 2001.08361; PaLM: Chowdhery et al. 2022, arXiv 2204.02311, appendix B). For N
    weights in matrices, T tokens, width h and document lengths L:

        forward   2 N T + 2 h Σ L²   in each layer: Q Kᵀ and its product with V take 4 h L², of which a causal
                                     mask needs half (PaLM counts all of it, FlashAttention's authors half)
        backward  the same for the gradients of the layers' inputs (twice for attention, which has no
                  weights), and 2 N T for the gradients of the trained weights: all weights, or the adapters

    Operations that are repeated, for example by checkpointing, are counted once (MFU, not HFU). Norms, biases
    and activations are left out; they are less than a hundredth. The gradient of the first layer's input is
    counted even if the embedding is frozen and nothing needs it.
    """
    h, inner, tokens = config.n_embd, config.intermediate_size, sum(lengths)
    layers = config.n_layer * (4 * h * h + 2 * h * inner)
    products = layers * tokens + h * config.padded_vocab_size * supervised
    attention = 3 * config.n_layer * 2 * h * sum(length**2 for length in lengths)
    if isinstance(method, Full):
        return 6 * products + attention
    return 4 * products + 6 * _adapter_products(config, method, tokens, supervised) + attention


def _adapter_products(config: PhiConfig, method: Lora, tokens: int, supervised: int) -> int:
    """Return the multiply-adds of one pass through the adapters.

    In the adapter of the embedding table only B counts, because A is looked up.
    """
    layers = [target for target in method.targets if target not in ("lm_head", "wte")]
    products = adapter_parameters(config, method.r, layers) * tokens
    if "lm_head" in method.targets:
        products += method.r * (config.n_embd + config.padded_vocab_size) * supervised
    return products + (method.r * config.n_embd * tokens if "wte" in method.targets else 0)


def peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """Return a device's peak FLOP/s in dense matrix products, or None if it is not known."""
    return peak_of(torch.cuda.get_device_name(device), dtype) if device.type == "cuda" else None


def peak_of(name: str, dtype: torch.dtype) -> float | None:
    """Return the peak FLOP/s of the GPU that torch calls `name`, or None if it is not known."""
    peaks = next((peaks for pattern, peaks in PEAKS.items() if re.fullmatch(pattern, name)), (None, None))
    teraflops = {torch.bfloat16: peaks[0], torch.float32: peaks[1]}.get(dtype)
    return teraflops * 1e12 if teraflops else None
