"""What is known about a folder with a LoRA adapter in peft's format, without running it."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from steadyphi.checkpoint import source
from steadyphi.checkpoint.copying import Run
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, Stored, elements
from steadyphi.errors import SteadyPhiError
from steadyphi.inspection import contents
from steadyphi.inspection.locations import Folder, Place

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
# The name is `lora_A.weight` for a Linear and `lora_embedding_A` for an embedding.
PAIR = re.compile(r"(?P<module>.*\.)(?P<kind>lora_(embedding_)?)(?P<which>[AB])(?P<end>(\.weight)?)")
KINDS = {"adapter_model.safetensors": "safetensors", "adapter_model.bin": ".bin"}


def gather(place: Place, settings: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return the facts about an adapter that a checkpoint does not have; see `inspect.inspect`."""
    name = next((name for name in WEIGHTS if name in place.files), None)
    tensors: dict[str, Stored] = {}
    if name is None:
        problems.append(f"{place.path}: has no weights; looked for {' and '.join(WEIGHTS)}")
    else:
        try:
            tensors = source.stored(place.path / name, place.open, places=isinstance(place, Folder))
        except SteadyPhiError as error:
            problems.append(str(error))
    values = settings.get(CONFIG, {})
    if CONFIG not in place.files:
        problems.append(f"{place.path / CONFIG}: not found; without it peft cannot read the adapter")
    problems += [f"{place.path}: {text}" for text in _contradictions(values, tensors)]
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


def _contradictions(values: Mapping[str, Any], tensors: Mapping[str, Stored]) -> Iterator[str]:
    """Yield a message for each tensor without its pair, of another rank or with wrong DoRA lengths."""
    stated, dora = bool(values) and not values.get("rank_pattern"), bool(values.get("use_dora"))
    for name, tensor in tensors.items():
        match = PAIR.fullmatch(name)
        if match is None:
            continue
        module, which = match["module"], match["which"]
        other = f"{module}{match['kind']}{'B' if which == 'A' else 'A'}{match['end']}"
        if other not in tensors:
            yield f"{name} has no counterpart {other}"
        if len(tensor.shape) != 2:
            continue
        if stated and tensor.shape["AB".index(which)] != values.get("r"):
            yield f"{name} is {tensor.shape}, {CONFIG} says r is {values.get('r')}"
        lengths = tensors.get(f"{module}lora_magnitude_vector")
        if which == "B" and values and (lengths is not None) != dora:
            yield f"{module}lora_magnitude_vector: {CONFIG} says use_dora is {dora}"
        elif which == "B" and lengths and lengths.shape != tensor.shape[:1]:
            yield f"{module}lora_magnitude_vector is {lengths.shape}, {name} is {tensor.shape}"
