"""Adapters as the pipeline writes them, written by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from steadyphi.checkpoint import layouts
from steadyphi.model_config import PhiConfig
from tests.training.made import TARGETS

EVERYWHERE = (*TARGETS, "lm_head", "wte")


def folder(path: Path) -> Path:
    """Make a folder, and return it."""
    path.mkdir()
    return path


def write_adapter(
    path: Path, base: Path, targets: Sequence[str] = TARGETS, r: int = 6, dora: bool = False, **config: Any
) -> Path:
    """Write an adapter as the pipeline does, by hand: random numbers, alpha / r = 2.5."""
    path.mkdir()
    torch.manual_seed(1)
    tensors = {}
    for name, tensor in layouts.tensors(layouts.LIT, PhiConfig.from_folder(base)).items():
        module, _, kind = name.rpartition(".")
        if kind == "weight" and f".{module}".endswith(tuple(f".{target}" for target in targets)):
            rows, columns = tensor.shape
            ends = ("lora_A.weight", "lora_B.weight")
            if module.endswith("wte"):
                rows, columns, ends = columns, rows, ("lora_embedding_A", "lora_embedding_B")
            tensors[f"{module}.{ends[0]}"] = 0.1 * torch.randn(r, columns)
            tensors[f"{module}.{ends[1]}"] = 0.1 * torch.randn(rows, r)
            if dora:
                tensors[f"{module}.lora_magnitude_vector"] = 1 + torch.rand(rows)
    save_file(tensors, path / "adapter_model.safetensors")
    values = {"peft_type": "LORA", "r": r, "lora_alpha": 15, "target_modules": list(targets)}
    (path / "adapter_config.json").write_text(json.dumps({**values, "use_dora": dora, **config}))
    return path


def weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of an exported model."""
    return dict(load_file(path / "model.safetensors"))
