"""Our low-rank layers beside peft's, and in the company of DDP, FSDP2, checkpoints and torch.compile."""

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint

from steadyphi.model import Phi
from steadyphi.settings.groups import Lora
from steadyphi.training.lora import LoraEmbedding, LoraLinear, adapt
from tests.test_model import make_pair

ALL = ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj", "lm_head", "wte")
PLAIN = Lora("lora", 4, 6, 0.0, ALL)
METHODS = {
    "lora": PLAIN,
    "rslora": replace(PLAIN, rslora=True),
    "dora": replace(PLAIN, dora=True),
    "both": replace(PLAIN, rslora=True, dora=True),
}
TOKENS, LENGTHS = torch.arange(40) * 5 % 211, [15, 25]


def randomized(model: nn.Module, seed: int = 1) -> nn.Module:
    """Give adapters numbers as after some training, for with B of zeros nothing could go wrong."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(trained(model).items()):
        noise = torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            parameter.copy_(parameter * (1 + 0.1 * noise) if "magnitude" in name else 0.1 * noise)
    return model


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that train, by their names on disk."""
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    ours = not any(".default" in name for name in named)
    return named if ours else {_on_disk(name): p for name, p in named.items()}


def _on_disk(name: str) -> str:
    return name.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector")


def peft_model(phi: Phi, method: Lora) -> Any:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=method.r,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=list(method.targets),
        use_rslora=method.rslora,
        use_dora=method.dora,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return inject_adapter_in_model(config, phi)


def pair(method: Lora) -> tuple[Phi, Any]:
    """Return a random Phi adapted by us and the same adapted by peft, with the same adapters."""
    phi, _ = make_pair("phi-2")
    ours, theirs = copy.deepcopy(phi), peft_model(copy.deepcopy(phi), method)
    adapt(ours, method)
    randomized(ours)
    assert trained(ours).keys() == trained(theirs).keys()
    for name, parameter in trained(theirs).items():
        parameter.data.copy_(trained(ours)[name].data)
    return ours.train(), theirs.train()


def loss(model: Any) -> Tensor:
    logits: Tensor = model(TOKENS, LENGTHS)
    return (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).mean()


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", METHODS)
def test_output_and_gradients_are_pefts(name: str, dropout: float) -> None:
    ours, theirs = pair(replace(METHODS[name], dropout=dropout))
    losses = []
    for model in (ours, theirs):
        torch.manual_seed(5)  # dropout
        losses.append(loss(model))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-5)
    for key, parameter in trained(theirs).items():
        gradient = trained(ours)[key].grad
        assert gradient is not None and gradient.abs().max() > 1e-6, key
        error = (gradient - parameter.grad).norm() / parameter.grad.norm()
        assert error < 1e-5, (key, error)
    for model in (ours, theirs):
        model.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(TOKENS, LENGTHS), theirs(TOKENS, LENGTHS), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_it_begins_as_peft_does(name: str) -> None:
    """As the base computes; the same distributions, and magnitudes that are the weights' own."""
    phi, _ = make_pair("phi-2")
    ours, theirs = copy.deepcopy(phi), peft_model(copy.deepcopy(phi), METHODS[name])
    adapt(ours, METHODS[name])
    with torch.no_grad():
        torch.testing.assert_close(ours(TOKENS, LENGTHS), phi(TOKENS, LENGTHS), atol=1e-5, rtol=1e-5)
    for key, parameter in trained(theirs).items():
        weight = trained(ours)[key].detach()
        assert weight.dtype == torch.float32 and weight.shape == parameter.shape
        if "magnitude" in key:
            torch.testing.assert_close(weight, parameter.detach())
        elif parameter.abs().max() == 0:
            assert weight.abs().max() == 0, key
        else:
            assert weight.std().item() == pytest.approx(parameter.std().item(), rel=0.25), key
            assert weight.abs().max() <= parameter.abs().max() * (1.5 if "embedding" in key else 1.1), key


def test_only_adapters_train_and_a_seed_gives_the_same() -> None:
    states = []
    for _ in range(2):
        phi, _ = make_pair("phi-1.5")
        torch.manual_seed(7)
        adapt(phi, METHODS["dora"])
        states.append({n: p.detach() for n, p in trained(phi).items()})
        assert {n.rpartition(".lora_")[1] for n in trained(phi)} == {".lora_"}
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    layers = {n: type(m) for n, m in phi.named_modules() if isinstance(m, LoraLinear | LoraEmbedding)}
    assert layers.pop("transformer.wte") is LoraEmbedding
    assert set(layers.values()) == {LoraLinear} and len(layers) == 4 * phi.config.n_layer + 1
    assert not isinstance(phi.lm_head, nn.Linear)  # how the loss knows


@pytest.mark.parametrize("name", METHODS)
def test_in_bfloat16_it_stays_near_float32(name: str) -> None:
    """Under autocast, the base in bfloat16: adapters and magnitudes are no worse off than the base."""
    wide, _ = make_pair("phi-2")
    narrow = copy.deepcopy(wide).bfloat16()
    wide.load_state_dict({n: t.float() for n, t in narrow.state_dict().items()})
    outputs = []
    for model in (wide, narrow):
        adapt(model, METHODS[name])
        randomized(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=model is narrow):
            total = loss(model)
        total.float().backward()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=model is narrow):
            outputs.append(model(TOKENS, LENGTHS).float())
    assert (outputs[1] - outputs[0]).norm() < 0.03 * outputs[0].norm()
    for key, parameter in trained(wide).items():
        gradient = trained(narrow)[key].grad
        assert gradient is not None and parameter.grad is not None and gradient.dtype == torch.float32
        assert (gradient - parameter.grad).norm() < 0.06 * parameter.grad.norm(), key


def test_a_small_change_of_magnitude_is_not_lost_in_bfloat16() -> None:
    """1.0005 is 1 in bfloat16, and a number times it is rounded back to itself; on average it shows yet."""
    torch.manual_seed(0)
    base = nn.Linear(64, 8, bias=False).bfloat16()
    base.bias = nn.Parameter(torch.zeros(8, dtype=torch.bfloat16))
    layer = LoraLinear(base, replace(PLAIN, dora=True))
    nn.init.normal_(layer.lora_B.weight, std=0.01)
    x = torch.randn(20000, 64).bfloat16()
    with torch.no_grad():
        before = layer(x).float()
        layer.lora_magnitude_vector.mul_(1.0005)  # type: ignore[union-attr]
        after = layer(x).float()
    assert (after.abs().sum() / before.abs().sum()).item() == pytest.approx(1.0005, abs=2e-4)


def test_rows_of_zeros_train_without_nan() -> None:
    """As of tokens that no text has."""
    base = nn.Linear(8, 6)
    nn.init.zeros_(base.weight[2:4])
    layer = LoraLinear(base.requires_grad_(False), replace(PLAIN, dora=True))
    optimizer = torch.optim.AdamW(trained(layer).values(), lr=0.1)
    for _ in range(3):
        layer(torch.ones(5, 8)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(p.isfinite().all() for p in layer.parameters())
    assert torch.equal(layer(torch.ones(1, 8))[0, 2:4], base.bias[2:4])


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_checkpointed_and_compiled_layers_give_the_same(name: str) -> None:
    model, _ = make_pair("phi-2")
    adapt(model, replace(METHODS[name], dropout=0.2))
    randomized(model)
    layer, x = model.transformer["h"][0].mlp.fc.train(), torch.randn(12, 320)
    ways = {
        "plain": layer,
        "checkpointed": lambda x: checkpoint(layer, x, use_reentrant=False),
        "compiled": torch.compile(layer, backend="aot_eager", fullgraph=True),
    }
    results = {}
    for way, call in ways.items():
        torch.manual_seed(3)
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            call(x).float().square().mean().backward()
        results[way] = [p.grad.clone() for p in trained(layer).values() if p.grad is not None]
    assert all(results.values())
    for way in ("checkpointed", "compiled"):
        for a, b in zip(results["plain"], results[way], strict=True):
            torch.testing.assert_close(a, b, atol=0, rtol=0)


@pytest.fixture
def one_process(tmp_path: Any) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["lora", "dora"])
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_distributed_models_give_the_same(name: str, way: str, one_process: None) -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    model, _ = make_pair("phi-2")
    adapt(model, METHODS[name])
    randomized(model)
    loss(model).backward()
    expected = {n: p.grad.clone() for n, p in trained(model).items() if p.grad is not None}
    model.zero_grad()
    whole: nn.Module = model
    if way == "ddp":
        whole = nn.parallel.DistributedDataParallel(model)
    else:
        for block in model.transformer["h"]:
            fully_shard(block)
        fully_shard(model)
    loss(whole).backward()
    assert expected.keys() == trained(model).keys()
    for key, parameter in trained(model).items():
        grad = parameter.grad
        grad = grad.full_tensor() if isinstance(grad, DTensor) else grad
        torch.testing.assert_close(grad, expected[key], atol=1e-7, rtol=1e-5, msg=key)
