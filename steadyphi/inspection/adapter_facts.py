"""What is known about a folder with a LoRA adapter in peft's format, without running it."""

import math
from collections.abc import Mapping
from typing import Any

from steadyphi.checkpoint import adapter_format, source
from steadyphi.checkpoint.adapter_format import CONFIG, WEIGHTS
from steadyphi.checkpoint.copying import Run
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, Stored, elements
from steadyphi.errors import SteadyPhiError
from steadyphi.inspection import contents
from steadyphi.inspection.locations import Folder, Place

KINDS = {"adapter_model.safetensors": "safetensors", "adapter_model.bin": ".bin"}


def gather(place: Place, settings: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return the facts about an adapter that a checkpoint does not have; see `inspect.inspect`."""
    name, stored = None, None
    if CONFIG not in place.files:
        problems.append(f"{place.path / CONFIG}: not found; without it peft cannot read the adapter")
    try:
        name = adapter_format.weights_file(place.files, place.path)
        stored = source.stored(place.path / name, place.open, places=isinstance(place, Folder))
    except SteadyPhiError as error:
        problems.append(str(error))
    path = place.path / (name or WEIGHTS[0])
    problems += adapter_format.problems(path, settings.get(CONFIG), stored)
    values, tensors = settings.get(CONFIG, {}), stored or {}
    dtypes: dict[str, int] = {}
    for tensor in tensors.values():
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + 1
    facts: dict[str, Any] = {"kind": "adapter", "adapter": _adapter(values, tensors)}
    if name and tensors:
        total = sum(tensor.nbytes for tensor in tensors.values())
        facts["weights"] = {"kind": KINDS[name], "files": [name], "tensors": len(tensors), "buffers": 0}
        facts["weights"] |= {"bytes": total, "dtypes": dtypes}
        if isinstance(place, Folder) and dtypes.keys() <= WEIGHT_BYTES.keys():
            runs = {n: [Run(n, 0, t.path, t.offset, t.nbytes, t.dtype)] for n, t in tensors.items()}
            shapes = {n: tensor.shape for n, tensor in tensors.items()}
            dtype = next(iter(dtypes)) if len(dtypes) == 1 else None
            facts["digest"] = contents.digest(place.path, runs, shapes, dtype, problems)
    return facts


def _adapter(values: Mapping[str, Any], tensors: Mapping[str, Stored]) -> dict[str, Any]:
    r, alpha = values.get("r"), values.get("lora_alpha")
    scale = None
    if isinstance(r, int) and 0 < r < 2**31 and isinstance(alpha, int | float) and abs(alpha) < 2**31:
        scale = alpha / (math.sqrt(r) if values.get("use_rslora") else r)
    targets = values.get("target_modules")
    return {
        "type": values.get("peft_type"),
        "dora": bool(values.get("use_dora")),
        "r": r,
        "alpha": alpha,
        "scale": scale,
        "targets": targets if isinstance(targets, list) else [targets] if targets else [],
        "base": values.get("base_model_name_or_path"),
        "parameters": sum(elements(tensor.shape) for tensor in tensors.values()),
    }
