"""Weights in oneDNN's layout give the results of plain ones, except for the order of summation."""

import pytest
import torch

from steadyphi.inference import packed
from steadyphi.inference.generate import Options, generate
from steadyphi.inference.packed import PackedLinear, pack
from tests.inference.test_generate import prompts_of, theirs, tokens_of
from tests.inference.vocabulary import Letters
from tests.test_model import make_pair

pytestmark = pytest.mark.skipif(not packed.available(torch.float32), reason="torch has no oneDNN here")


def test_text_equals_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "SMALL", dict.fromkeys(packed.SMALL, 150_000))
    model, reference = make_pair("phi-2")
    prompts = prompts_of(12)
    pack(model)
    kinds = {name: type(module) for name, module in model.named_modules()}
    assert kinds["transformer.h.0.mlp.fc"] is PackedLinear
    assert (
        kinds["transformer.h.0.attn.proj"] is torch.nn.Linear
    )  # 102,400 numbers: small, so column by column
    assert model.transformer["h"][0].attn.proj.weight.t().is_contiguous()
    ours = tokens_of(generate(model, Letters(), prompts, Options(max_new_tokens=20)))
    assert ours == [theirs(reference, prompt, 20) for prompt in prompts]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows", [1, 3, 200])
def test_products_are_the_same(dtype: torch.dtype, rows: int) -> None:
    if not packed.available(dtype):
        pytest.skip("no bfloat16 on this machine")
    torch.manual_seed(0)
    linear = torch.nn.Linear(300, 500).to(dtype)
    x = torch.randn(rows, 300).to(dtype)
    with torch.inference_mode():
        product, expected = PackedLinear(linear)(x), linear.float()(x.float())
    assert product.dtype == dtype and product.shape == (rows, 500)
    torch.testing.assert_close(
        product.float(), expected, atol=1e-5 if dtype == torch.float32 else 0.02, rtol=0
    )


def test_without_onednn_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = make_pair("phi-1.5")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    before = dict(model.named_modules())
    assert dict(pack(model).named_modules()) == before
