"""A Hub checkpoint folder becomes a lit-gpt one."""

import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from steadyphi.checkpoint import manifest
from steadyphi.checkpoint.layouts import hub_parts
from steadyphi.checkpoint.tokenizer import TextTokenizer
from steadyphi.errors import SteadyPhiError
from steadyphi.files import sha256, write_text
from steadyphi.model_config import PhiConfig
from steadyphi.progress import Progress

WEIGHTS = "lit_model.pth"
CONFIG = "model_config.yaml"


def convert(source: Path, target: Path, dtype: str) -> dict[str, Any]:
    """Write the lit-gpt checkpoint of the Hub folder `source` into the empty folder `target`.

    dtype: `keep`, or a torch dtype's name that all tensors are turned into.
    returns: the manifest written beside the weights.
    Raises SteadyPhiError when a tensor is missing, superfluous, of another shape or of another
    dtype than the rest.
    """
    config = PhiConfig.from_folder(source)
    tokens, rows = TextTokenizer(source).size, config.padded_vocab_size
    if tokens > rows:
        raise SteadyPhiError(
            f"{source}: tokenizer.json has {tokens} tokens, config.json's vocab_size is {rows}"
        )
    fetched = manifest.read(source)
    shapes = config.tensor_shapes()
    progress = Progress("convert", len(shapes), "tensors")
    with Shards(source) as shards:
        state = {}
        for name, shape in shapes.items():
            state[name] = _assemble(shards, name, shape, dtype)
            progress.add(1)
        shards.check_all_used()
        # The zip's inner folder is named after the file, so a temporary name would be in the bytes.
        torch.save(state, target / WEIGHTS)
    progress.close()
    _copy_small_files(source, target)
    name = str(fetched["source"])
    write_text(target / CONFIG, yaml.safe_dump(config.to_litgpt(name.split("/")[-1], _hf_config(name))))
    made = {
        "source": name,
        "revision": fetched["revision"],
        "layout": "lit-gpt",
        "dtype": str(state["lm_head.weight"].dtype).removeprefix("torch."),
        "source_tensors": len(shards.used),
        "tensors": len(state),
        "parameters": sum(t.numel() for t in state.values()),
        "sha256": sha256(target / WEIGHTS),
    }
    manifest.write(target, made)
    return made


class Shards:
    """The tensors of a Hub folder by name, opened lazily, each to be taken once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = manifest.weight_map(folder)
        self.used: set[str] = set()
        self.dtype: torch.dtype | None = None
        self._open: dict[str, Any] = {}

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.clear()

    def take(self, name: str) -> Tensor:
        """Return a tensor; SteadyPhiError when it is absent, unreadable or of a dtype of its own."""
        if name not in self.where:
            raise SteadyPhiError(f"{self.folder}: the tensor {name} is missing; config.json asks for it")
        path = self.folder / self.where[name]
        try:
            if path.name not in self._open:
                self._open[path.name] = safe_open(path, framework="pt")
            tensor: Tensor = self._open[path.name].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise SteadyPhiError(f"{path}: {name} cannot be read ({error}); fetch the file again") from None
        self.dtype = self.dtype or tensor.dtype
        if tensor.dtype != self.dtype:
            raise SteadyPhiError(f"{path}: {name} is {tensor.dtype}, the tensors before it {self.dtype}")
        self.used.add(name)
        return tensor

    def check_all_used(self) -> None:
        """Raise SteadyPhiError for a tensor that no part of the model took."""
        for name in sorted(self.where.keys() - self.used):
            raise SteadyPhiError(
                f"{self.folder}: the tensor {name} belongs to no part of a Phi of this config.json"
            )


def _assemble(shards: Shards, name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    """Return lit-gpt's tensor `name`: its Hub parts one below the other."""
    names = hub_parts(name)
    rows = (shape[0] // len(names), *shape[1:])
    parts = []
    for part in names:
        tensor = shards.take(part)
        if tuple(tensor.shape) != rows:
            raise SteadyPhiError(
                f"{shards.folder}: {part} is {tuple(tensor.shape)}, config.json asks for {rows}"
            )
        parts.append(tensor)
    whole = torch.cat(parts) if len(parts) > 1 else parts[0]
    return whole if dtype == "keep" else whole.to(getattr(torch, dtype))


def _copy_small_files(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        weights = path.suffix == ".safetensors" or path.name in (manifest.INDEX, manifest.NAME)
        if path.is_file() and not weights:
            shutil.copyfile(path, target / path.name)


def _hf_config(source: str) -> dict[str, str]:
    parts = source.split("/")
    return {"org": parts[0], "name": parts[-1]}
