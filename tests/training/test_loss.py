"""The loss against torch's own, its gradients, and what it never holds."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from steadyphi.data.packing import Batch, collate
from steadyphi.model import Phi
from steadyphi.settings.groups import Lora
from steadyphi.training import loss
from steadyphi.training.lora import adapt
from steadyphi.training.loss import LinearCrossEntropy, loss_sum
from tests.training.made import examples, small_phi

COUNT, WIDTH, VOCABULARY = 37, 16, 101


def made(dtype: torch.dtype = torch.float32) -> tuple[Tensor, nn.Parameter, nn.Parameter, Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(COUNT, WIDTH).to(dtype).requires_grad_()
    weight, bias = nn.Parameter(0.3 * torch.randn(VOCABULARY, WIDTH)), nn.Parameter(torch.randn(VOCABULARY))
    return hidden, weight, bias, torch.randint(0, VOCABULARY, (COUNT,))


def gradients(function: Any, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    *inputs, targets = made(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        total = function(*inputs, targets)
    (3 * total).backward()  # a scale, as the mean over a step has one
    return total, [t.grad for t in inputs]


def plain(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight, bias).float(), targets, reduction="sum")


@pytest.mark.parametrize("chunk", [1, 10, 37, 1024])
@pytest.mark.parametrize("rows", [3, 64])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_equals_torch(
    chunk: int, rows: int, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "CHUNK", chunk)
    monkeypatch.setattr(loss, "ROWS", rows)
    total, computed = gradients(LinearCrossEntropy.apply, dtype)
    expected_total, expected = gradients(plain, dtype)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(expected_total.item(), rel=1e-6)  # in bfloat16 too
    for a, b in zip(computed, expected, strict=True):
        assert a.dtype == b.dtype
        assert (a - b).norm() < tolerance * b.norm()


def test_frozen_parts_get_no_gradient() -> None:
    hidden, weight, bias, targets = made()
    LinearCrossEntropy.apply(
        hidden, weight.requires_grad_(False), bias.requires_grad_(False), targets
    ).backward()
    assert weight.grad is None and bias.grad is None
    (expected,) = torch.autograd.grad(plain(hidden, weight, bias, targets), hidden)
    torch.testing.assert_close(hidden.grad, expected)
    with torch.no_grad():
        assert LinearCrossEntropy.apply(hidden, weight, bias, targets) > 0


class Rows(TorchDispatchMode):
    """Notes the most rows that a table with a column for each word has."""

    most = 0

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = words

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.ndim == 2 and tensor.shape[1] == self.words:
                self.most = max(self.most, len(tensor))
        return result


@pytest.mark.parametrize("adapted", [False, True])
def test_the_logits_are_never_whole(adapted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK", 8)
    model = small_phi()
    if adapted:
        adapt(model, Lora("lora", 2, 4, 0.0, ("lm_head",)))
    batch = collate(examples(60))
    with Rows(model.config.padded_vocab_size) as seen:
        loss_sum(model, batch).backward()
    # The head itself, transposed, is the only larger table.
    assert seen.most in (8, model.config.n_embd) and model.config.n_embd < len(batch.targets)


def test_an_adapted_head_has_the_loss_of_the_merged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK", 7)
    model, batch = small_phi(), collate(examples(10))
    adapt(model, Lora("lora", 2, 4, 0.0, ("lm_head",)))
    nn.init.normal_(model.lm_head.lora_B.weight, std=0.1)
    total = loss_sum(model, batch)
    total.backward()
    head = model.lm_head.base
    merged = head.weight + 2 * model.lm_head.lora_B.weight @ model.lm_head.lora_A.weight
    expected = plain(model.hidden(batch.tokens, batch.lengths)[batch.at], merged, head.bias, batch.targets)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(expected, model.lm_head.lora_A.weight)
    torch.testing.assert_close(model.lm_head.lora_A.weight.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pairs", [1, 2, 1024])
@pytest.mark.parametrize("adapted", [False, True])
def test_the_divergence_between_renderings_is_that_of_the_distributions(
    pairs: int, adapted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entropy of the mean less mean of the entropies, in probabilities, and its gradient by autograd."""
    monkeypatch.setattr(loss, "PAIRS", pairs)
    group = [
        rendering
        for e in examples(4)
        for rendering in (e, replace(e, tokens=[7, *e.tokens], prompt=e.prompt + 1, rendering=1))
    ]
    model = small_phi()
    if adapted:
        torch.manual_seed(3)
        adapt(model, Lora("lora", 4, 8, 0.0, ("lm_head",)))
    batch = collate(group, pairs=True)
    gradients = []
    for function in (
        lambda: loss_sum(model, batch, consistency=0.5) - loss_sum(model, batch),
        lambda: expected_divergence(model, batch),
    ):
        model.zero_grad()
        value = function()
        value.backward()
        gradients.append((value.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    (total, computed), (wanted, expected) = gradients
    assert total == pytest.approx(wanted, rel=1e-3) and wanted > 0
    for a, b in zip(computed, expected, strict=True):
        assert (a - b).norm() < 1e-3 * b.norm() + 1e-4


def expected_divergence(model: Phi, batch: Batch) -> Tensor:
    hidden = model.hidden(batch.tokens, batch.lengths)[batch.at]
    p, q = torch.softmax(model.lm_head(hidden).double(), -1)[batch.aligned]

    def entropy(shares: Tensor) -> Tensor:
        return -(shares * shares.log()).sum()

    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
