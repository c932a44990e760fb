"""`steadyphi inspect` of an adapter in peft's format."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from steadyphi.inspection import inspect
from tests.hub.hub_fixtures import COMMIT, REPO
from tests.inspection.inspected import assert_page, digest_of, edit_json
from tests.pipeline.loopback_hub import Faults, start


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """As peft writes it: r 4 on one matrix of 160 × 640."""
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": ["mlp.fc"], "bias": "none"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    name = "base_model.model.transformer.h.0.mlp.fc.lora_{}.weight"
    tensors = {name.format("A"): torch.ones(4, 160), name.format("B"): torch.ones(640, 4)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    return tmp_path


def test_adapter(adapter: Path) -> None:
    facts = inspect.inspect(str(adapter))
    assert facts["kind"] == "adapter" and facts["problems"] == []
    assert facts["adapter"] == {
        "type": "LORA",
        "dora": False,
        "r": 4,
        "alpha": 6,
        "scale": 1.5,
        "targets": ["mlp.fc"],
        "base": None,
        "parameters": 4 * 160 + 640 * 4,
    }
    tensors = load_file(adapter / "adapter_model.safetensors")
    assert facts["digest"]["value"] == digest_of(tensors, "float32")
    text = assert_page(facts)
    assert "An adapter (LoRA) in peft's format" in text and "scale       1.5" in text


def test_rank_stabilized_scale_and_bin(adapter: Path) -> None:
    """Kalajdzievski 2023, arXiv 2312.03732: alpha / √r."""
    edit_json(adapter / "adapter_config.json", lambda config: config.update(use_rslora=True))
    safe = adapter / "adapter_model.safetensors"
    torch.save(load_file(safe), adapter / "adapter_model.bin")
    safe.unlink()
    facts = inspect.inspect(str(adapter))
    assert facts["adapter"]["scale"] == 6 / 2 and facts["problems"] == []
    assert facts["weights"]["kind"] == ".bin" and facts["adapter"]["parameters"] == 4 * 160 + 640 * 4


def test_dora_on_the_embedding_too(adapter: Path) -> None:
    edit_json(
        adapter / "adapter_config.json", lambda c: c.update(use_dora=True, target_modules=["mlp.fc", "wte"])
    )
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    prefix = "base_model.model.transformer."
    tensors[f"{prefix}wte.lora_embedding_A"] = torch.ones(4, 1280)
    tensors[f"{prefix}wte.lora_embedding_B"] = torch.ones(160, 4)
    save_file(tensors | {f"{prefix}wte.lora_magnitude_vector": torch.ones(1280)}, path)
    problems = inspect.inspect(str(adapter))["problems"]
    assert len(problems) == 2
    assert "h.0.mlp.fc.lora_magnitude_vector is missing, but adapter_config.json says that use" in problems[0]
    assert "wte.lora_magnitude_vector has shape (1280,), but " in problems[1] and "(160, 4)" in problems[1]
    for module, length in (("h.0.mlp.fc", 640), ("wte", 160)):
        tensors[f"{prefix}{module}.lora_magnitude_vector"] = torch.ones(length)
    save_file(tensors, path)
    facts = inspect.inspect(str(adapter))
    assert facts["problems"] == [] and facts["adapter"]["dora"]
    assert facts["adapter"]["parameters"] == 4 * (160 + 640) + 640 + 4 * (1280 + 160) + 160
    assert "An adapter (DoRA) in peft's format" in assert_page(facts)


def test_adapter_on_the_hub(online: None, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = inspect.inspect(str(adapter))
    with start(adapter, (REPO, COMMIT), faults=Faults()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        facts = inspect.inspect(REPO)
    assert facts["problems"] == [] and facts["digest"]["kind"] == "listing"
    assert facts["adapter"] == local["adapter"] and facts["weights"] == local["weights"]
    assert_page(facts)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"r": 8}, r"lora_A.weight has shape \(4, 160\), but adapter_config.json says that r is 8"),
        ({"r": None, "lora_alpha": "x", "target_modules": 3}, "r: None is not a rank"),
        ({"lora_alpha": 10**400}, "lora_alpha: "),
        (None, "adapter_config.json: cannot be read"),
        ({}, "adapter_config.json: has no settings"),
        ("config", "adapter_config.json: not found; without it peft"),
        ("weights", "has no weights; looked for adapter_model.safetensors"),
        ("half", "lora_A.weight has no counterpart .*lora_B.weight"),
        ("nan", "lora_B.weight has NaN"),
    ],
)
def test_broken_adapters(adapter: Path, change: Any, expected: str) -> None:
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    last = sorted(tensors)[-1]
    if change == {}:
        (adapter / "adapter_config.json").write_text("{}")
    elif isinstance(change, dict):
        edit_json(adapter / "adapter_config.json", lambda config: config.update(change))
    elif change is None:
        (adapter / "adapter_config.json").write_text("[1]")
    elif change == "config":
        (adapter / "adapter_config.json").unlink()
    elif change == "weights":
        weights.unlink()
    elif change == "half":
        save_file({k: v for k, v in tensors.items() if k != last}, weights)
    else:
        save_file({**tensors, last: tensors[last].fill_(torch.nan)}, weights)
    facts = inspect.inspect(str(adapter))
    assert any(re.search(expected, problem) for problem in facts["problems"]), facts["problems"]
    assert_page(facts)
