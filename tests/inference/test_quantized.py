"""Quantized weights: the same numbers as those of the gguf package, which is llama.cpp's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError
from steadyphi.inference import quantized
from steadyphi.inference.load import load_model
from steadyphi.inference.quantized import quantize


def theirs(weight: Tensor, kind: str) -> Tensor:
    gguf = pytest.importorskip("gguf", reason="needs the package gguf: pip install gguf")
    type_ = gguf.GGMLQuantizationType[kind]
    numbers = gguf.quants.dequantize(gguf.quants.quantize(weight.float().numpy(), type_), type_)
    return torch.from_numpy(np.array(numbers))


@pytest.mark.parametrize(("bits", "kind"), [(8, "Q8_0"), (4, "Q4_0")])
def test_the_numbers_are_llama_cpps(
    bits: int, kind: str, phi_tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized, "ROWS", 300)  # does not divide the rows
    before = dict(load_model(phi_tiny, None, torch.float32).state_dict())
    before["lm_head.weight"][3, :64] = 0.0
    model = load_model(phi_tiny, None, torch.float32)
    model.lm_head.weight.data[3, :64] = 0.0
    after = quantize(model, bits).state_dict()
    for name, weight in before.items():
        if weight.ndim == 1:
            assert torch.equal(after[name], weight), name
        else:
            inside = name.startswith("transformer.h.")
            expected = theirs(weight, kind if inside else "Q8_0")
            assert torch.equal(after[name], expected), name
            assert not torch.equal(after[name], weight), name


def test_the_dtype_is_kept_and_the_error_is_that_of_its_bits() -> None:
    torch.manual_seed(0)
    blocks = torch.randn(1000, 32)
    for nearest, bound in ((quantized._eight, 1 / 254), (quantized._four, 1 / 8)):  # and the scale's own
        error = (nearest(blocks) - blocks).abs().amax(1) / blocks.abs().amax(1)
        assert bound / 3 < error.max() <= bound + 2**-11
    layer = torch.nn.Linear(64, 5, dtype=torch.bfloat16)
    rounded = quantized._rounded(layer.weight.data, 4, "layer")
    assert rounded.dtype == torch.bfloat16 and rounded.shape == (5, 64)


def test_rows_without_whole_blocks_are_refused() -> None:
    with pytest.raises(SteadyPhiError, match="layer: has rows of 40 numbers, no multiple of 32"):
        quantized._rounded(torch.zeros(2, 40), 8, "layer")
