"""Load a checkpoint of any layout as a model, directly from its files: no converted copy is written."""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steadyphi.checkpoint import layouts
from steadyphi.checkpoint.adapter import Update, is_adapter, read_updates
from steadyphi.checkpoint.convert import check_tokenizer, source_runs
from steadyphi.checkpoint.copying import Run
from steadyphi.checkpoint.source import open_folder
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object
from steadyphi.model import Phi


def load_tuned(base: Path, tuned: Path | None, dtype: torch.dtype, device: torch.device | str = "cpu") -> Phi:
    """Load a fine-tuned model with `load_model`: an adapter on `base`, or a whole checkpoint.

    tuned: the folder of the adapter or checkpoint; None loads the base itself.
    """
    if tuned is None or is_adapter(tuned):
        return load_model(base, tuned, dtype, device)
    return load_model(tuned, None, dtype, device)


def load_model(
    folder: Path, adapter: Path | None, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Phi:
    """Load the checkpoint in `folder`, of any layout that `open_folder` knows, in evaluation mode.

    On a CPU, tensors that the file stores as the model needs them, in `dtype`, stay memory-mapped: they are
    read when they are first used, and the system may reclaim their memory. The others are read, and rounded
    where needed, one after the other, so the peak memory is that of the model and one part of a tensor.
    adapter: the folder of an adapter in peft's format. It is merged in float32, before rounding.
    Raises SteadyPhiError for an incomplete checkpoint, and for an adapter that does not fit it.
    """
    opened = open_folder(folder)
    config = opened.config
    check_tokenizer(folder, config.padded_vocab_size)
    updates = read_updates(adapter, opened) if adapter else {}
    files = Files()
    parts = source_runs(opened)
    state = {}
    for name, tensor in layouts.tensors(layouts.LIT, config).items():
        tensor_runs = {piece.part: parts[piece.part] for piece in tensor.pieces}
        whole = (
            None
            if updates.keys() & tensor_runs.keys()
            else files.view([r for runs in tensor_runs.values() for r in runs], dtype)
        )
        if whole is None:
            whole = torch.empty(tensor.shape, dtype=dtype).view(-1)
            at = 0
            for part, runs in tensor_runs.items():
                numbers = files.read(runs)
                _put(numbers, updates.get(part), whole[at : at + len(numbers)])
                at += len(numbers)
        state[name] = whole.view(tensor.shape).to(device)
    with torch.device("meta"):
        model = Phi(config)
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).eval()


def _put(numbers: Tensor, update: Update | None, place: Tensor) -> None:
    """Merge the adapter's update, if any, into a part's numbers; write them to `place`, in its dtype."""
    if update is None:
        place.copy_(numbers)
        return
    weight, place = (x.view(len(update.b), update.a.shape[1]) for x in (numbers, place))
    for rows, new in update.merged(weight):
        place[rows] = new


def same_tokenizer(folder: Path, other: Path) -> bool:
    """Return whether the tokenizers of two checkpoint folders give every text the same ids."""
    first, second = (read_object(f / "tokenizer.json", "a tokenizer") for f in (folder, other))
    keys = ("added_tokens", "normalizer", "pre_tokenizer", "model")
    return all(first.get(key) == second.get(key) for key in keys)


class Files:
    """The files of a checkpoint: memory-mapped if possible, otherwise read into one buffer."""

    def __init__(self) -> None:
        self.files: dict[Path, mmap.mmap] = {}
        self.buffer = np.empty(0, np.uint8)

    def view(self, runs: Sequence[Run], dtype: torch.dtype) -> Tensor | None:
        """Return a view of the numbers of `runs`; None unless they are contiguous, aligned and in `dtype`."""
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
                # Copy on write, because torch warns about a buffer that is not writable.
                self.files[first.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        count = (place - first.offset) // dtype.itemsize
        return torch.frombuffer(self.files[first.path], dtype=dtype, count=count, offset=first.offset)

    def read(self, runs: Sequence[Run]) -> Tensor:
        """Return the numbers of one part's runs, in a buffer that the next call overwrites."""
        size = sum(run.nbytes for run in runs)
        if size > len(self.buffer):
            self.buffer = np.empty(size, np.uint8)  # reused, because new memory costs more than the copy
        at = 0
        for run in runs:
            end = at + run.nbytes
            with run.path.open("rb", buffering=0) as file:
                file.seek(run.offset)
                while at < end:  # one call reads at most 2 GB
                    if not (got := file.readinto(self.buffer.data[at:end])):
                        raise SteadyPhiError(f"{run.path}: ends within {run.part}; was it changed meanwhile?")
                    at += got
        return torch.from_numpy(self.buffer[:size]).view(getattr(torch, runs[0].dtype))
