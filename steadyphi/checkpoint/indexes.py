"""The names of weight files, and the index files that map each tensor to its shard."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError

# Weight files: safetensors, torch's .bin, lit-gpt's file. The first that exists is used.
SAFETENSORS, BIN, LIT_WEIGHTS = "model.safetensors", "pytorch_model.bin", "lit_model.pth"
INDEXES = {single: f"{single}.index.json" for single in (SAFETENSORS, BIN)}
SINGLES = (SAFETENSORS, BIN, LIT_WEIGHTS)
LONGEST_INDEX = 64_000_000  # bytes; the index of Phi-2 has 36 thousand


def read_index(data: bytes, path: Path) -> tuple[dict[str, str], int | None]:
    """Return the map from tensor name to file name, and the total size in bytes given in the index."""
    if len(data) > LONGEST_INDEX:
        raise SteadyPhiError(f"{path}: has more than {LONGEST_INDEX:,} bytes, too many for a weight index")
    try:
        values = json.loads(data)
        weight_map: dict[str, str] = dict(values["weight_map"].items())
        total: Any = (values.get("metadata") or {}).get("total_size")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SteadyPhiError(f"{path}: is not a weight index ({type(error).__name__}: {error})") from None
    for name in weight_map.values():
        # A name with a lone surrogate cannot be opened, and is not printable either.
        good = isinstance(name, str) and name.isprintable() and not set(name) & set("/\\")
        if not good or name in ("", ".", ".."):
            shown = repr(name)[:80]
            raise SteadyPhiError(f"{path}: weight_map: {shown} is not the name of a file in the folder")
    if not weight_map:
        raise SteadyPhiError(f"{path}: weight_map is empty")
    known = type(total) in (int, float) and abs(total) < 2**63  # false for NaN and infinity
    return weight_map, int(total) if known else None


def hint(names: Collection[str], where: str) -> str | None:
    """Return what a folder with these files has in place of the weights of a model, and what to do."""
    if "adapter_config.json" in names:
        return (
            f"{where}: is an adapter in peft's format, not a model; merge it into its base with "
            f"steadyphi export {where} TARGET --base MODEL"
        )
    if f"{LIT_WEIGHTS}.lora" in names:
        return (
            f"{where}: has {LIT_WEIGHTS}.lora, the LoRA weights of LitGPT, but not the model; "
            f"run litgpt merge_lora {where}, which writes {LIT_WEIGHTS}"
        )
    if "zero_to_fp32.py" in names:
        return (
            f"{where}: has the weights in the parts of DeepSpeed ZeRO; "
            f"run zero_to_fp32.py in it, which writes {SAFETENSORS} or {BIN}"
        )
    return None


def check_complete(folder: Path) -> None:
    """Raise SteadyPhiError when an index in the folder names a file that does not exist."""
    for index in INDEXES.values():
        if (folder / index).is_file():
            with (folder / index).open("rb") as file:
                weight_map, _ = read_index(file.read(LONGEST_INDEX + 1), folder / index)
            for path in sorted({folder / name for name in weight_map.values()}):
                if not path.is_file():
                    raise SteadyPhiError(f"{path}: is listed in {index} but does not exist; fetch it again")
