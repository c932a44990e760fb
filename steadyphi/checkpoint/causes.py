"""Why the tensors of a checkpoint cannot be used, said once instead of once per tensor."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from steadyphi.checkpoint.layouts import HUB
from steadyphi.checkpoint.tensors import Stored

PEFT = "base_model.model."  # peft adds it to the names of the model that it wraps
WRAPPERS = ("_orig_mod.", "module.")  # of torch.compile and of DataParallel; they change nothing else
_DEEPEST = 4  # wrappers inside one another
# Whole numbers and float8 in safetensors and in torch's storages. A mask or a table of them is a buffer.
_QUANTIZED = re.compile(r"[IU](8|16|32)|F8_\w+|(Char|Byte|Short|Int)Storage")
_UNMERGED = re.compile(r"(^|\.)(lora_(embedding_)?[AB]|base_layer)(\.|$)")


def prefix(names: Collection[str]) -> str:
    """Return the prefix that wrappers of the model left on every name, or an empty text."""
    wrappers = ""
    for _ in range(_DEEPEST):
        wrapper = next((w for w in WRAPPERS if all(n.startswith(wrappers + w) for n in names)), None)
        if wrapper is None or not names:
            break
        wrappers += wrapper
    return wrappers


def of_model(folder: Path, tensors: Mapping[str, Stored]) -> str | None:
    """Return the one cause for which these are not the weights of a model, or None."""
    for name in tensors:
        if _UNMERGED.search(name):
            return (
                f"{folder}: has a LoRA adapter that is not merged ({name}); merge it with the tool that made "
                "it: merge_and_unload() and save_pretrained() of peft, or litgpt merge_lora"
            )
    if tensors and all(name.startswith(PEFT) for name in tensors):
        return (
            f"{folder}: the names of the tensors begin with {PEFT}, so an unmerged peft model was saved; "
            "call its merge_and_unload() and save the result with save_pretrained()"
        )
    return placeholders(folder, tensors) or _quantized(folder, tensors)


def placeholders(where: Path, tensors: Mapping[str, Stored]) -> str | None:
    """Return the cause of empty tensors, or None if there are none."""
    empty = [name for name, tensor in tensors.items() if 0 in tensor.shape]
    if not empty:
        return None
    return (
        f"{where}: {len(empty)} of {len(tensors)} tensors are empty ({empty[0]}): DeepSpeed ZeRO-3 saved "
        "placeholders; run zero_to_fp32.py in the checkpoint's folder, which writes the real weights"
    )


def _quantized(folder: Path, tensors: Mapping[str, Stored]) -> str | None:
    for name, tensor in tensors.items():
        if _QUANTIZED.fullmatch(tensor.dtype) and not name.endswith(HUB.buffers):
            return (
                f"{folder}: the weights were saved quantized, in 8 or 4 bits ({name} is {tensor.dtype}); "
                "take the original checkpoint, or load it in transformers, call dequantize() and save that"
            )
    return None
