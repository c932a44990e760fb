"""The number of parameters of each part of a Phi, and the memory needed to load and to fine-tune it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from steadyphi.budget.footprint import (
    TRAINED_BYTES,
    Step,
    adapter_parameters,
    footprint,
    kept_by_layer,
    linear_parameters,
    loss_bytes,
)
from steadyphi.checkpoint import layouts
from steadyphi.checkpoint.layouts import Layout
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, Stored, elements
from steadyphi.model_config import PhiConfig
from steadyphi.settings.defaults import lora_settings

# Part -> its keys in the tables of `layouts`, and whether each layer has it. The page keeps this order.
PARTS: dict[str, tuple[tuple[str, ...], bool]] = {
    "embedding": (("embedding",), False),
    "norm": (("norm",), True),
    "attention qkv": (("q", "k", "v", "qkv", "qkv_by_head"), True),
    "attention dense": (("dense",), True),
    "MLP fc1": (("fc1",), True),
    "MLP fc2": (("fc2",), True),
    "final norm": (("final_norm",), False),
    "head": (("head",), False),
}
FULL = Step("bfloat16", tokens=0)
TYPICAL = 4096  # finetune.micro_tokens of the large models


def parameters(config: PhiConfig) -> dict[str, Any]:
    """Return the number of parameters of each part of a Phi of this shape; see `inspect.inspect`."""
    counts = _by_part(layouts.HUB, {n: elements(s) for n, s in layouts.part_shapes(config).items()})
    return _table(counts, config.n_layer, "config")


def stored_parameters(layout: Layout, tensors: Mapping[str, Stored]) -> dict[str, Any]:
    """Return the same table as `parameters`, counted from the stored tensors. Used if there is no config."""
    weights = {n: elements(t.shape) for n, t in tensors.items() if not layouts.is_buffer(layout, n)}
    return _table(_by_part(layout, weights), None, "tensors")


def _by_part(layout: Layout, counts: Mapping[str, int]) -> dict[str, int]:
    totals = dict.fromkeys(PARTS, 0)
    patterns = {key: _pattern(template) for key, template in layout.names.items()}
    for name, count in counts.items():
        key = next((key for key, pattern in patterns.items() if pattern.fullmatch(name)), None)
        part = next((part for part, (keys, _) in PARTS.items() if str(key) in keys), "other")
        totals[part] = totals.get(part, 0) + count
    return totals


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", r"\\d+", re.escape(template)) + r"\.(weight|bias)")


def _table(counts: Mapping[str, int], layers: int | None, origin: str) -> dict[str, Any]:
    total = sum(counts.values())
    rows: list[dict[str, Any]] = []
    for part, count in counts.items():
        in_layer = part in PARTS and PARTS[part][1]  # "other" tensors belong to no layer
        each = count // layers if layers and in_layer else None
        share = count / total if total else 0.0
        rows.append({"part": part, "in_layer": in_layer, "each": each, "total": count, "share": share})
    each_layer = sum(row["each"] or 0 for row in rows) if layers else None
    return {"from": origin, "total": total, "layers": layers, "per_layer": each_layer, "parts": rows}


def memory(config: PhiConfig) -> dict[str, Any]:
    """Return the bytes needed to load a Phi in each dtype and to fine-tune it; see `inspect.inspect`."""
    count = parameters(config)["total"]
    rounded = linear_parameters(config)
    full = {
        "bytes": footprint(config, FULL).lasting,
        "trained": count,
        "formula": f"{TRAINED_BYTES} × {count:,} + 2 × {rounded:,}",
        "why": "weights in float32, their gradients and Adam's two moments take 4 + 4 + 8 bytes per "
        "parameter; during a step there is also a bfloat16 copy of the Linear weights",
    }
    return {
        "load": {dtype: count * WEIGHT_BYTES[dtype] for dtype in ("float32", "bfloat16", "float16")},
        "finetune": {"full": full, **_lora(config, count)},
        "activations": _activations(config),
    }


def _lora(config: PhiConfig, count: int) -> dict[str, Any]:
    settings = lora_settings("lora")
    if isinstance(settings, str):
        return {"lora": {"bytes": None, "trained": None, "formula": None, "why": settings}}
    added = adapter_parameters(config, settings.r, settings.targets, settings.dora)
    lora = {
        "bytes": footprint(config, Step("bfloat16", tokens=0, lora=settings, added=added)).lasting,
        "trained": added,
        "formula": f"2 × {count:,} + {TRAINED_BYTES + 2} × {added:,}",
        "why": "the base is frozen in bfloat16 (in float32, twice as large, on a machine that is slow in "
        f"bfloat16); adapters of rank {settings.r} on {', '.join(settings.targets)} "
        f"(conf/method/lora.yaml) take {TRAINED_BYTES} bytes per parameter, as above, and 2 "
        "for a bfloat16 copy",
    }
    return {"lora": lora}


def _activations(config: PhiConfig) -> dict[str, Any]:
    """Return the bytes that a bfloat16 step keeps for the backward pass, and the bytes of its loss."""
    h, inner = config.n_embd, config.intermediate_size
    return {
        "bytes_per_token": config.n_layer * kept_by_layer(config, FULL),
        "loss_bytes": loss_bytes(config, replace(FULL, tokens=TYPICAL)),
        "formula": f"{config.n_layer} × (22 × {h:,} + 4 × {inner:,})",
        "why": "an estimate of what is stored for the backward pass, in bfloat16 and without dropout",
    }
