"""The formula beside the operations that torch counts in a real step."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from steadyphi.data.packing import Example, collate
from steadyphi.model import Phi
from steadyphi.settings.groups import Full, Lora
from steadyphi.training.flops import PEAKS, flops_per_step, peak, peak_of
from steadyphi.training.lora import adapt
from steadyphi.training.loss import loss_sum
from tests.inspection.test_sizes import TARGETS, shape

LENGTHS = [40, 90, 90, 200]
PROMPT = 30
SUPERVISED = sum(LENGTHS) - PROMPT * len(LENGTHS)


def counted(method: Full | Lora, **changes: int) -> int:
    torch.manual_seed(0)
    config = shape(**changes)
    model = Phi(config).train()
    if isinstance(method, Lora):
        adapt(model, method)
    batch = collate([Example([i % config.padded_vocab_size for i in range(n)], PROMPT) for n in LENGTHS])
    with FlopCounterMode(display=False) as counter:
        loss_sum(model, batch).backward()
    return counter.get_total_flops()


def masked_half(**changes: int) -> int:
    """What torch counts and we do not: the half of attention that the causal mask leaves out."""
    config = shape(**changes)
    return 3 * config.n_layer * 2 * config.n_embd * sum(n * n for n in LENGTHS)


@pytest.mark.parametrize(
    "changes", [{}, {"n_layer": 5}, {"intermediate_size": 300}, {"padded_vocab_size": 5000}]
)
def test_full_is_counted_exactly(changes: dict[str, int]) -> None:
    formula = flops_per_step(shape(**changes), LENGTHS, SUPERVISED, Full("full"))
    assert counted(Full("full"), **changes) == formula + masked_half(**changes)


@pytest.mark.parametrize("targets", [TARGETS, ["attn.qkv", "mlp.fc"], [*TARGETS, "lm_head"]])
@pytest.mark.parametrize("r", [4, 32])
def test_lora_is_counted_to_a_hundredth(targets: list[str], r: int) -> None:
    """But for what the docstring leaves in: the gradient of the first layer's input."""
    method = Lora("lora", r=r, alpha=16, dropout=0.0, targets=tuple(targets))  # type: ignore[arg-type]
    config = shape(n_layer=6)
    h, inner, tokens = config.n_embd, config.intermediate_size, sum(LENGTHS)
    not_needed = 2 * tokens * (3 * h * h + h * inner)
    formula = flops_per_step(config, LENGTHS, SUPERVISED, method) - not_needed + masked_half(n_layer=6)
    if "lm_head" in targets:  # the loss computes an adapted head's products twice, once for nothing
        formula += 2 * SUPERVISED * (h * config.padded_vocab_size + r * (h + config.padded_vocab_size))
    assert counted(method, n_layer=6) == pytest.approx(formula, rel=0.01)


def test_checkpointing_and_packing_leave_it_alone() -> None:
    """Documents attend to themselves alone, so two of half the length take less."""
    whole, halves = (flops_per_step(shape(), lengths, 10, Full("full")) for lengths in ([200], [100, 100]))
    h, layers = shape().n_embd, shape().n_layer
    assert whole - halves == 6 * layers * h * (200**2 - 2 * 100**2)


def test_phi_2_is_near_six_operations_a_parameter_and_token() -> None:
    config = shape(n_layer=32, n_head=32, n_embd=2560, intermediate_size=10240, padded_vocab_size=51200)
    table = 51200 * 2560
    flops = flops_per_step(config, [512] * 8, 4096, Full("full"))
    assert flops == pytest.approx(6 * (2_779_683_840 - table) * 4096, rel=0.02)


@pytest.mark.parametrize(
    ("name", "bfloat16", "float32"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5e12, 67e12),
        ("NVIDIA H100 PCIe", 756.5e12, 51e12),
        ("NVIDIA H200", 989.5e12, 67e12),
        ("NVIDIA A100-SXM4-80GB", 312e12, 19.5e12),
        ("NVIDIA A100 80GB PCIe", 312e12, 19.5e12),
        ("NVIDIA A10", 125e12, 31.2e12),
        ("NVIDIA A10G", None, None),
        ("NVIDIA L4", 121e12, 30.3e12),
        ("NVIDIA L40", None, None),
        ("Tesla T4", None, 8.1e12),
        ("Tesla V100-SXM2-16GB", None, 15.7e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12, 82.6e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
    ],
)
def test_peaks(name: str, bfloat16: float | None, float32: float | None) -> None:
    assert peak_of(name, torch.bfloat16) == bfloat16
    assert peak_of(name, torch.float32) == float32
    assert peak_of(name, torch.float16) is None


def test_a_cpu_has_no_peak() -> None:
    assert peak(torch.device("cpu"), torch.float32) is None
    assert all(low is None or low > high for low, high in PEAKS.values())
