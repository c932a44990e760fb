"""The tables against the real shapes; the reference for every name is in by_hand.py."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from steadyphi.checkpoint import layouts
from steadyphi.checkpoint.indexes import INDEXES, SAFETENSORS
from steadyphi.errors import SteadyPhiError
from steadyphi.model_config import PhiConfig


@pytest.mark.parametrize(
    ("name", "count", "parameters"), [("phi-2", 453, 2_779_683_840), ("phi-1_5", 341, 1_418_270_720)]
)
@pytest.mark.parametrize("layout", list(layouts.LAYOUTS.values()), ids=list(layouts.LAYOUTS))
def test_the_real_shapes(
    shared: Path, name: str, count: int, parameters: int, layout: layouts.Layout
) -> None:
    config = PhiConfig.from_folder(shared / "hub" / name)
    tensors = layouts.tensors(layout, config)
    assert sum(torch.Size(t.shape).numel() for t in tensors.values()) == parameters
    assert layouts.detect(tensors) is layout
    rows: Counter[str] = Counter()
    for tensor in tensors.values():
        for piece in tensor.pieces:
            assert piece.start == rows[piece.part]  # ascending, nothing left out, nothing twice
            rows[piece.part] = piece.stop
        assert sum(p.stop - p.start for p in tensor.pieces) == tensor.shape[0]
    assert rows == {part: shape[0] for part, shape in layouts.part_shapes(config).items()}
    assert len(rows) == count
    if name == "phi-2" and layout is layouts.HUB:  # the real index names just these tensors
        index = json.loads((shared / "hub" / name / INDEXES[SAFETENSORS]).read_text())
        assert set(tensors) == set(index["weight_map"])


def test_a_layout_is_told_though_a_tensor_is_missing(shared: Path) -> None:
    config = PhiConfig.from_folder(shared / "hub" / "phi-2")
    for layout in layouts.LAYOUTS.values():
        names = list(layouts.tensors(layout, config))
        for name in names:
            if ".0." in name or ".1." in name:
                assert layouts.detect([n for n in names if n != name]) is layout


@pytest.mark.parametrize("names", [[], ["a"], [f"model.layers.0.mlp.fc{n}.weight" for n in (1, 2)]])
def test_no_known_layout(names: list[str]) -> None:
    with pytest.raises(SteadyPhiError, match="no known layout"):
        layouts.detect(names)
