"""The names of weight files, and the index files that map each tensor to its shard."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError
from steadyphi.files import parse_object, read_bytes

# Weight files: safetensors, torch's .bin, lit-gpt's file. The first that exists is used.
SAFETENSORS, BIN, LIT_WEIGHTS = "model.safetensors", "pytorch_model.bin", "lit_model.pth"
INDEXES = {single: f"{single}.index.json" for single in (SAFETENSORS, BIN)}
SINGLES = (SAFETENSORS, BIN, LIT_WEIGHTS)


def read_index(data: bytes, path: Path) -> tuple[dict[str, str], int | None]:
    """Return the map from tensor name to file name, and the total size in bytes given in the index."""
    values = parse_object(data, path, "a weight index", "fetch it again")
    weight_map: Any = values.get("weight_map")
    if not isinstance(weight_map, dict):
        raise SteadyPhiError(f"{path}: cannot be read as a weight index (no weight_map); fetch it again")
    metadata = values.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    for name in weight_map.values():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise SteadyPhiError(f"{path}: weight_map: {name!r} is not the name of a file in the folder")
    if not weight_map:
        raise SteadyPhiError(f"{path}: weight_map is empty")
    return weight_map, int(total) if isinstance(total, int | float) else None


def hint(names: Collection[str], where: str) -> str | None:
    """Return what a folder with these files has in place of the weights of a model, and what to do."""
    if "adapter_config.json" in names:
        return (
            f"{where}: is an adapter in peft's format, not a model; merge it into its base with "
            "steadyphi export ADAPTER TARGET --base MODEL"
        )
    if f"{LIT_WEIGHTS}.lora" in names:
        return (
            f"{where}: has {LIT_WEIGHTS}.lora, the LoRA weights of LitGPT, but not the model; "
            f"run litgpt merge_lora on its folder, which writes {LIT_WEIGHTS}"
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
        if (folder / index).exists():
            weight_map, _ = read_index(read_bytes(folder / index), folder / index)
            for path in sorted({folder / name for name in weight_map.values()}):
                if not path.is_file():
                    raise SteadyPhiError(f"{path}: is listed in {index} but does not exist; fetch it again")
