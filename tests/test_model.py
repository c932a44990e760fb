"""Our Phi against transformers' PhiForCausalLM: same random weights, same numbers."""

import pytest
import torch
from torch import Tensor

from steadyphi import model as module
from steadyphi.checkpoint import layouts
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig

transformers = pytest.importorskip("transformers")

# The true head sizes of Phi-1.5 (64, half of it rotated) and Phi-2 (80, 0.4 of it), at small width.
SHAPES = {"phi-1.5": (4, 64, 0.5), "phi-2": (4, 80, 0.4)}
LENGTHS = [17, 1, 40, 40, 23]


def make_pair(shape: str, dropout: float = 0.0) -> tuple[Phi, "transformers.PhiForCausalLM"]:
    heads, size, rotary = SHAPES[shape]
    torch.manual_seed(1)
    reference = transformers.PhiForCausalLM(
        transformers.PhiConfig(
            vocab_size=211,
            hidden_size=heads * size,
            intermediate_size=4 * heads * size,
            num_hidden_layers=3,
            num_attention_heads=heads,
            max_position_embeddings=128,
            partial_rotary_factor=rotary,
            resid_pdrop=dropout,
            attn_implementation="eager",
        )
    ).eval()
    with torch.no_grad():
        for parameter in reference.parameters():  # biases and norms too: zeros would hide their absence
            parameter.add_(0.02 * torch.randn_like(parameter))
    values = reference.config.to_dict()
    model = Phi(PhiConfig.from_hub(values, "test")).eval()  # type: ignore[arg-type]
    model.load_state_dict(from_reference(reference))
    return model, reference


def from_reference(reference: "transformers.PhiForCausalLM") -> dict[str, Tensor]:
    """Rename by hand, without the project's table of names, so that a mistake in the table is detected."""
    hub = reference.state_dict()
    out = {}
    for kind in ("weight", "bias"):
        out[f"lm_head.{kind}"] = hub[f"lm_head.{kind}"]
        out[f"transformer.ln_f.{kind}"] = hub[f"model.final_layernorm.{kind}"]
        for n in range(reference.config.num_hidden_layers):
            theirs, ours = f"model.layers.{n}.", f"transformer.h.{n}."
            out[f"{ours}norm_1.{kind}"] = hub[f"{theirs}input_layernorm.{kind}"]
            out[f"{ours}attn.qkv.{kind}"] = torch.cat(
                [hub[f"{theirs}self_attn.{p}_proj.{kind}"] for p in "qkv"]
            )
            out[f"{ours}attn.proj.{kind}"] = hub[f"{theirs}self_attn.dense.{kind}"]
            out[f"{ours}mlp.fc.{kind}"] = hub[f"{theirs}mlp.fc1.{kind}"]
            out[f"{ours}mlp.proj.{kind}"] = hub[f"{theirs}mlp.fc2.{kind}"]
    out["transformer.wte.weight"] = hub["model.embed_tokens.weight"]
    return out


def tokens_of(lengths: list[int]) -> Tensor:
    return torch.randint(0, 211, (sum(lengths),), generator=torch.Generator().manual_seed(7))


def reference_logits(reference: torch.nn.Module, tokens: Tensor) -> Tensor:
    """Return the logits of each document in its own batch: no packing, no padding, no leak."""
    return torch.cat([reference(t[None], use_cache=False).logits[0] for t in tokens.split(LENGTHS)])


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_transformers(shape: str) -> None:
    model, reference = make_pair(shape)
    tokens = tokens_of(LENGTHS)
    with torch.no_grad():
        torch.testing.assert_close(
            model(tokens, LENGTHS), reference_logits(reference, tokens), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_equal_transformers(shape: str) -> None:
    model, reference = make_pair(shape)
    tokens = tokens_of(LENGTHS)
    targets = tokens.roll(-1)
    for logits in (model(tokens, LENGTHS), reference_logits(reference, tokens)):
        torch.nn.functional.cross_entropy(logits, targets).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    for parameter in reference.parameters():
        parameter.data = parameter.grad  # the same renaming then serves for gradients
    for name, expected in from_reference(reference).items():
        torch.testing.assert_close(gradients[name], expected, atol=1e-4, rtol=0, msg=lambda m, n=name: n + m)
        assert expected.abs().max() > 1e-4 or "norm" in name or "qkv.bias" in name, name


def test_packed_documents_equal_the_same_documents_alone() -> None:
    model, _ = make_pair("phi-2")
    tokens = tokens_of(LENGTHS)
    with torch.no_grad():
        packed = model(tokens, LENGTHS)
        alone = torch.cat([model(t, [len(t)]) for t in tokens.split(LENGTHS)])
        other = tokens.clone()
        other[: LENGTHS[0]] = (other[: LENGTHS[0]] + 1) % 211
        changed = model(other, LENGTHS)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=0)
    assert torch.equal(packed[LENGTHS[0] :], changed[LENGTHS[0] :])  # no leak, bit for bit
    assert not torch.equal(packed[: LENGTHS[0]], changed[: LENGTHS[0]])


def test_one_kernel_for_all_documents_equals_each_alone(flash_on_cpu: None) -> None:
    """The branch of a GPU: hidden states and gradients are as near to the truth as the CPU's."""
    model, reference = make_pair("phi-2")
    tokens = tokens_of(LENGTHS)
    with torch.no_grad():
        truth = reference_logits(reference, tokens)
    outputs = []
    for devices in (set(), {"cpu"}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "FLASH_DEVICES", devices)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(tokens, LENGTHS).float()
            model.zero_grad()
            torch.nn.functional.cross_entropy(logits, tokens.roll(-1)).backward()
            outputs.append((logits.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (plain, slopes), (flash, flash_slopes) = outputs
    assert not torch.equal(plain, flash)  # it was taken
    assert (flash - truth).square().mean() < 1.05 * (plain - truth).square().mean()
    torch.testing.assert_close(flash_slopes, slopes, atol=1e-3, rtol=0.05)


def test_a_torch_whose_kernel_takes_other_arguments_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch 2.10 has `is_causal` where later releases have a window."""
    from torch.nn.attention import varlen

    gpu = torch.device("cuda")
    assert module.flash_over_documents(gpu) is varlen.varlen_attn
    assert module.flash_over_documents(torch.device("cpu")) is None

    def before(
        query: Tensor, key: Tensor, value: Tensor, a: Tensor, b: Tensor, m: int, n: int, is_causal: bool
    ) -> Tensor: ...

    monkeypatch.setattr(varlen, "varlen_attn", before)
    monkeypatch.setattr(module, "_varlen_attn", module._varlen_attn.__wrapped__)
    assert module.flash_over_documents(gpu) is None


def test_logits_at_chosen_positions() -> None:
    model, _ = make_pair("phi-1.5")
    tokens, at = tokens_of(LENGTHS), torch.tensor([3, 16, 57, 120])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens, LENGTHS, at), model(tokens, LENGTHS)[at], atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_is_no_further_from_the_truth_than_transformers(shape: str) -> None:
    model, reference = make_pair(shape)
    tokens = tokens_of(LENGTHS)
    with torch.no_grad():
        truth = reference_logits(reference, tokens)
        theirs = (reference_logits(reference.bfloat16(), tokens).float() - truth).square().mean().sqrt()
        ours = (model.bfloat16()(tokens, LENGTHS).float() - truth).square().mean().sqrt()
    assert ours > 0
    assert ours <= 1.02 * theirs, (ours, theirs)  # 2%: the two round differently, neither always better


@pytest.mark.parametrize("name", ["embd_pdrop", "attn_pdrop", "resid_pdrop"])
def test_each_dropout_acts_in_training_alone(name: str) -> None:
    base, _ = make_pair("phi-2")
    values = {**base.config.__dict__, name: 0.5}
    model = Phi(PhiConfig(**values)).eval()
    model.load_state_dict(base.state_dict())
    tokens = tokens_of(LENGTHS)
    with torch.no_grad():
        calm = model(tokens, LENGTHS)
        torch.testing.assert_close(calm, base(tokens, LENGTHS))
        model.train()
        assert not torch.allclose(model(tokens, LENGTHS), calm, atol=1e-3)


def test_residual_dropout_hits_both_branches_at_its_rate() -> None:
    """As in transformers: attention and MLP are dropped with separate masks, and then added."""
    base, _ = make_pair("phi-2")
    block = Phi(PhiConfig(**{**base.config.__dict__, "resid_pdrop": 0.3, "n_layer": 1})).transformer["h"][0]
    width = base.config.n_embd
    for part in (block.attn.proj, block.mlp.proj):  # both branches become the constant 1
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.ones_(part.bias)
    torch.manual_seed(0)
    from steadyphi.model import Documents

    x = torch.zeros(400, width)
    out = block.train()(x, Documents(base.config, [100] * 4, x.device)) * 0.7
    shares = [(out.round() == k).float().mean().item() for k in (0, 1, 2)]
    assert shares == pytest.approx([0.09, 0.42, 0.49], abs=0.01)


def test_wrong_lengths_are_refused() -> None:
    model, _ = make_pair("phi-2")
    for lengths in ([5, 4], [10, 0], [11]):
        with pytest.raises(ValueError, match="do not fit"):
            model(tokens_of([10]), lengths)
    with pytest.raises(ValueError, match="context"):
        model(tokens_of([129]), [129])


def test_names_and_shapes_are_those_of_the_table() -> None:
    model, _ = make_pair("phi-2")
    table = {name: tensor.shape for name, tensor in layouts.tensors(layouts.LIT, model.config).items()}
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == table
