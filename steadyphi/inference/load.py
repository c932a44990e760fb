"""A checkpoint of any layout as a model to run, straight from its files: no converted copy is written."""

import json
import math
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steadyphi.checkpoint import export, layouts
from steadyphi.checkpoint.convert import check_tokenizer, source_runs
from steadyphi.checkpoint.copying import Run
from steadyphi.checkpoint.export import Lora
from steadyphi.checkpoint.source import open_folder
from steadyphi.errors import SteadyPhiError
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig

ADAPTER = export.CONFIG


def is_adapter(folder: Path) -> bool:
    """Whether a folder has an adapter in peft's format."""
    return (folder / ADAPTER).exists()


def load_model(
    folder: Path, adapter: Path | None, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Phi:
    """Load the checkpoint in `folder`, of any layout that `open_folder` knows, in evaluation mode.

    On a CPU, tensors that lie in the file as the model has them, in `dtype`, stay memory-mapped: they are
    read when they are first used, and the system may take their memory back. Others are read, and rounded
    where needed, one after the other: so no more memory is taken than the model has, and one part of it.
    adapter: a folder with what the stage `finetune` made by LoRA. It is merged in float32, before rounding.
    Raises SteadyPhiError for a checkpoint that is not whole, and an adapter that does not fit it.
    """
    opened = open_folder(folder)
    config = opened.config
    check_tokenizer(folder, config.padded_vocab_size)
    updates = read_adapter(adapter, config) if adapter else {}
    files = Files()
    parts = source_runs(opened)
    state = {}
    for name, tensor in layouts.tensors(layouts.LIT, config).items():
        own = {piece.part: parts[piece.part] for piece in tensor.pieces}
        whole = (
            None
            if updates.keys() & own.keys()
            else files.view([r for runs in own.values() for r in runs], dtype)
        )
        if whole is None:
            whole = torch.empty(tensor.shape, dtype=dtype).view(-1)
            at = 0
            for part, runs in own.items():
                numbers = files.read(runs)
                if part in updates:
                    numbers = merged(numbers, updates[part])
                whole[at : at + len(numbers)] = numbers
                at += len(numbers)
        state[name] = whole.view(tensor.shape).to(device)
    with torch.device("meta"):
        model = Phi(config)
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).eval()


def same_tokenizer(folder: Path, other: Path) -> bool:
    """Whether two checkpoints' tokenizers give every text the same ids."""
    first, second = (json.loads((f / "tokenizer.json").read_bytes()) for f in (folder, other))
    keys = ("added_tokens", "normalizer", "pre_tokenizer", "model")
    return all(first.get(key) == second.get(key) for key in keys)


class Files:
    """The files of a checkpoint: mapped into memory where that will do, else read into one buffer."""

    def __init__(self) -> None:
        self.files: dict[Path, mmap.mmap] = {}
        self.buffer = np.empty(0, np.uint8)

    def view(self, runs: Sequence[Run], dtype: torch.dtype) -> Tensor | None:
        """Return the numbers of `runs` where they lie; None unless they lie together, aligned, in `dtype`."""
        first = runs[0]
        place = first.offset
        for run in runs:
            if run.path != first.path or run.offset != place or getattr(torch, run.dtype) != dtype:
                return None
            place += run.nbytes
        if first.offset % dtype.itemsize:
            return None
        if first.path not in self.files:
            with first.path.open("rb") as file:
                # A private copy on writing: torch warns of a buffer that cannot be written to.
                self.files[first.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        count = (place - first.offset) // dtype.itemsize
        return torch.frombuffer(self.files[first.path], dtype=dtype, count=count, offset=first.offset)

    def read(self, runs: Sequence[Run]) -> Tensor:
        """Return the numbers of one part's runs, in a buffer that the next call overwrites."""
        size = sum(run.nbytes for run in runs)
        if size > len(self.buffer):
            self.buffer = np.empty(size, np.uint8)  # one for all: fresh memory costs more than the copying
        at = 0
        for run in runs:
            end = at + run.nbytes
            with run.path.open("rb", buffering=0) as file:
                file.seek(run.offset)
                while at < end:  # the system reads 2 GB at most in one go
                    if not (got := file.readinto(self.buffer.data[at:end])):
                        raise SteadyPhiError(f"{run.path}: ends within {run.part}; was it changed meanwhile?")
                    at += got
        return torch.from_numpy(self.buffer[:size]).view(getattr(torch, runs[0].dtype))


def merged(numbers: Tensor, update: Lora) -> Tensor:
    """Return a part's numbers with the adapter's update, in float32."""
    delta = (update.b.float() @ update.a.float()).mul_(update.scale)
    return delta.view(-1).add_(numbers)


def read_adapter(folder: Path, config: PhiConfig) -> Mapping[str, Lora]:
    """Return the update of each part that an adapter has one for, by the part's name on the Hub.

    The adapter is one of the stage `finetune`, or one for transformers' Phi, as `steadyphi export` writes it.
    """
    values = export.read_settings(folder / ADAPTER)
    tensors = export.read_tensors(folder / export.WEIGHTS)
    if not any(name.startswith(export.PREFIX) for name in tensors):
        return export.read_updates(folder, values, config)
    r = values["r"]
    scale = values["lora_alpha"] / (math.sqrt(r) if values.get("use_rslora") else r)
    updates = {}
    for part, shape in layouts.part_shapes(config).items():
        module = export.PREFIX + part.removesuffix(".weight")
        a, b = f"{module}.lora_A.weight", f"{module}.lora_B.weight"
        if part.endswith(".weight") and (a in tensors or b in tensors):
            export.check_shapes(folder / export.WEIGHTS, tensors, {a: (r, shape[1]), b: (shape[0], r)})
            updates[part] = Lora(tensors.pop(a), tensors.pop(b), scale)
    for name in tensors:
        raise SteadyPhiError(f"{folder / export.WEIGHTS}: {name} belongs to no part of this model")
    return updates
