"""Counts and memory, beside what transformers, peft and a real training step have."""

from pathlib import Path

import pytest
import torch

from steadyphi.inspection import sizes
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig
from steadyphi.training.optimizer import make_optimizer

TARGETS = ["attn.qkv", "attn.proj", "mlp.fc", "mlp.proj"]


def shape(**changes: float) -> PhiConfig:
    values = {"n_layer": 3, "n_head": 4, "n_embd": 128, "intermediate_size": 512, "padded_vocab_size": 640}
    values |= {"block_size": 1024}
    rates = {"rotary_percentage": 0.5, "rope_base": 10000.0, "norm_eps": 1e-5}
    return PhiConfig(**(values | rates | changes))  # type: ignore[arg-type]


PHI_2 = shape(n_layer=32, n_head=32, n_embd=2560, intermediate_size=10240, padded_vocab_size=51200)
PHI_1_5 = shape(n_layer=24, n_head=32, n_embd=2048, intermediate_size=8192, padded_vocab_size=51200)


@pytest.mark.parametrize(("config", "count"), [(PHI_2, 2_779_683_840), (PHI_1_5, 1_418_270_720)])
def test_phi_at_its_real_size(config: PhiConfig, count: int) -> None:
    assert sizes.parameters(config)["total"] == count
    assert sizes.memory(config)["load"] == {"float32": 4 * count, "bfloat16": 2 * count, "float16": 2 * count}


@pytest.mark.slow
@pytest.mark.parametrize("config", [PHI_2, PHI_1_5])
def test_parameters_are_transformers(config: PhiConfig) -> None:
    import transformers

    values = {"hidden_size": config.n_embd, "intermediate_size": config.intermediate_size}
    values |= {"num_hidden_layers": config.n_layer, "num_attention_heads": config.n_head}
    with torch.device("meta"):
        model = transformers.PhiForCausalLM(
            transformers.PhiConfig(vocab_size=config.padded_vocab_size, **values)
        )

    def total(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    layer = model.model.layers[0]
    counts = {part["part"]: part["each"] or part["total"] for part in sizes.parameters(config)["parts"]}
    assert counts == {
        "embedding": total(model.model.embed_tokens),
        "norm": total(layer.input_layernorm),
        "attention qkv": total(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
        "attention dense": total(layer.self_attn.dense),
        "MLP fc1": total(layer.mlp.fc1),
        "MLP fc2": total(layer.mlp.fc2),
        "final norm": total(model.model.final_layernorm),
        "head": total(model.lm_head),
    }
    assert sizes.parameters(config)["total"] == total(model)
    assert sizes.parameters(config)["per_layer"] == total(layer)


def test_full_fine_tuning_holds_sixteen_bytes_a_parameter() -> None:
    """Weights, gradients and the optimizer's tensors of a real step, counted."""
    model = Phi(shape())
    optimizer = make_optimizer(model, 1e-4, 0.1)
    model(torch.arange(8), [8]).sum().backward()
    optimizer.step()
    held = [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None)]
    for state in optimizer.state.values():
        held += [value for value in state.values() if value.ndim or value.numel() > 1]
    count = sum(p.numel() for p in model.parameters())
    assert sum(tensor.nbytes for tensor in held) == sizes.TRAINED_BYTES * count
    memory = sizes.memory(shape())["finetune"]["full"]
    linears = sum(
        p.numel() for n, p in model.named_parameters() if "wte" not in n and "norm" not in n and "ln" not in n
    )
    assert memory["bytes"] == 16 * count + 2 * linears and memory["trained"] == count


def kept_for_backward(config: PhiConfig, tokens: int) -> int:
    """Bytes that autograd keeps of a forward pass in bfloat16, weights and their rounded copies aside."""
    model = Phi(config).train()
    weights = {p.shape for p in model.parameters()} | {p.t().shape for p in model.parameters() if p.ndim == 2}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), torch.autocast("cpu", torch.bfloat16):
        model.hidden(torch.arange(tokens) % config.padded_vocab_size, [tokens // 2] * 2)
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize(
    "changes", [{}, {"n_embd": 256, "intermediate_size": 512}, {"intermediate_size": 1024}]
)
def test_activations_are_what_autograd_keeps(changes: dict[str, int]) -> None:
    """Two depths, so that only what a layer keeps is compared."""
    config, tokens = shape(**changes), 1000
    deeper = shape(**changes, n_layer=config.n_layer + 2)
    measured = (kept_for_backward(deeper, tokens) - kept_for_backward(config, tokens)) / tokens
    stated = [sizes.memory(c)["activations"]["bytes_per_token"] for c in (config, deeper)]
    assert measured == pytest.approx(stated[1] - stated[0], rel=0.05)


def test_the_methods_are_those_of_conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = shape()
    methods = sizes.memory(config)["finetune"]
    h, inner, r = 128, 512, 8
    added = 3 * r * ((3 * h + h) + (h + h) + (inner + h) + (h + inner))
    total = sizes.parameters(config)["total"]
    assert list(methods) == ["full", "lora"] and methods["lora"]["trained"] == added
    assert methods["lora"]["bytes"] == 2 * total + 18 * added
    monkeypatch.chdir(tmp_path)
    method = tmp_path / "conf" / "method"
    method.mkdir(parents=True)
    text = "{name: lora, r: 2, alpha: 4, dropout: 0.0, targets: [mlp.fc]}"
    (method / "lora.yaml").write_text(text)
    assert sizes.memory(config)["finetune"]["lora"]["trained"] == 3 * 2 * (inner + h)
    for broken in ("{name: lora, r: -1}", "r: [", "\x00"):
        (method / "lora.yaml").write_text(broken)
        lora = sizes.memory(config)["finetune"]["lora"]
        assert lora["bytes"] is None and "lora.yaml" in lora["why"] and "\n" not in lora["why"]
