"""LoRA and DoRA adapters in peft's format: reading, checking against a model, merging and writing.

LoRA adds scale · B A to the weight W of a Linear layer, where A and B are two small matrices (Hu et al.
2021, arXiv 2106.09685). Where q, k and v are one Linear layer, they share A, and each has separate rows of
B. The adapter of the combined layer can therefore be split into one adapter per part, without rounding.
DoRA (Liu et al. 2024, arXiv 2402.09353) then rescales each row of the sum to a learned norm. The adapter
of the embedding applies to the transposed table: A and B are swapped, and the columns are rescaled.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steadyphi.checkpoint import configs, layouts, safetensors_file
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_file, write_json
from steadyphi.model_config import PhiConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BLOCK = 1 << 18  # elements merged at a time; in float32 they fit in the CPU cache
LEAST = 1e-15  # lower bound of a norm, so that rows of zeros stay zero
PREFIX = "base_model.model."  # peft adds it to the module names of the wrapped model
# peft settings that are supported, or that do not affect the result. Any other setting that is enabled
# (a rank per module, biases, …) changes the meaning of the tensors.
_KNOWN = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules"}
_KNOWN |= {"task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping"}
_KNOWN |= {"init_lora_weights", "peft_version", "megatron_core", "qalora_group_size"}


@dataclass(frozen=True, eq=False)
class Update:
    """The update of the weight of one part of the model.

    a, b: the matrices A of shape (r, columns) and B of shape (rows, r), in the stored dtype.
    scale: the factor of the product B A.
    magnitude: DoRA's norm of each row, or of each column if `by_column` is true. None without DoRA.
    by_column: whether the columns are rescaled, as for the embedding.
    """

    a: Tensor
    b: Tensor
    scale: float
    magnitude: Tensor | None = None
    by_column: bool = False

    def merged(self, weight: Tensor, first: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the rows of `weight` (rows, columns) and their merged values in float32.

        first: the row of the part at which `weight` starts. When columns are rescaled, `weight` must have
            all rows.
        """
        column_scale = self._of_columns(weight) if self.magnitude is not None and self.by_column else None
        for at, new in self._sums(weight, first):
            if column_scale is not None:
                new.mul_(column_scale)
            elif self.magnitude is not None:
                lengths = self.magnitude[first + at.start : first + at.stop].float()
                new.mul_((lengths / torch.linalg.norm(new, dim=1).clamp_min(LEAST))[:, None])
            yield at, new

    def _sums(self, weight: Tensor, first: int) -> Iterator[tuple[slice, Tensor]]:
        step, a = max(1, BLOCK // weight.shape[1]), self.a.float()
        for start in range(0, len(weight), step):
            at = slice(start, min(start + step, len(weight)))
            update = self.b[first + at.start : first + at.stop].float() @ a
            yield at, update.mul_(self.scale).add_(weight[at])  # peft's order, for equal rounding

    def _of_columns(self, weight: Tensor) -> Tensor:
        assert self.magnitude is not None and len(weight) == len(self.b)
        squares = torch.zeros(weight.shape[1], dtype=torch.float64)
        for _, new in self._sums(weight, 0):
            squares += new.double().square().sum(0)
        return self.magnitude.float() / squares.sqrt().clamp_min(LEAST).float()

    def tensors(self, module: str) -> dict[str, Tensor]:
        """Return the tensors of a module under peft's names. They do not share memory."""
        names = _names(module, self.by_column)
        pair = (self.b.t(), self.a.t()) if self.by_column else (self.a, self.b)
        tensors = {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in zip(names, pair, strict=True)
        }
        if self.magnitude is not None:
            tensors[f"{module}.lora_magnitude_vector"] = self.magnitude.clone()
        return tensors


def is_adapter(folder: Path) -> bool:
    """Return whether a folder has an adapter in peft's format."""
    return (folder / CONFIG).exists()


def read_updates(folder: Path, config: PhiConfig) -> dict[str, Update]:
    """Return the updates of an adapter by the name of the part on the Hub.

    The adapter comes from the stage `finetune`, or is for Phi in transformers, as written by
    `steadyphi export`. Raises SteadyPhiError when any part of it is unsupported or does not fit `config`.
    """
    values, path = read_settings(folder / CONFIG), folder / WEIGHTS
    tensors = read_tensors(path)
    r, dora, targets = values["r"], bool(values.get("use_dora")), values["target_modules"]
    scale = values["lora_alpha"] / (math.sqrt(r) if values.get("use_rslora") else r)
    prefix = PREFIX if any(name.startswith(PREFIX) for name in tensors) else ""
    hub = any(name.startswith(f"{prefix}model.") for name in tensors)
    updates: dict[str, Update] = {}
    used: set[str] = set()
    for name, tensor in layouts.tensors(layouts.HUB if hub else layouts.LIT, config).items():
        module, _, kind = name.rpartition(".")
        if kind == "bias" or len(tensor.shape) == 1 or not layouts.is_target(module, targets):
            continue
        rows, columns = tensor.shape
        table = tensor.pieces[0].part == layouts.EMBEDDING
        inside, outside = (rows, columns) if table else (columns, rows)
        names = _names(prefix + module, table)
        expected: dict[str, tuple[int, ...]] = dict(zip(names, ((r, inside), (outside, r)), strict=True))
        if dora:
            expected[f"{prefix}{module}.lora_magnitude_vector"] = (outside,)
        _check(path, tensors, expected)
        used |= expected.keys()
        a, b = (tensors[key] for key in names)
        magnitude = tensors[f"{prefix}{module}.lora_magnitude_vector"] if dora else None
        if table:
            updates[layouts.EMBEDDING] = Update(b.t(), a.t(), scale, magnitude, by_column=True)
            continue
        for piece, piece_rows in zip(tensor.pieces, _rows_of(tensor.pieces), strict=True):
            length = None if magnitude is None else magnitude[piece_rows]
            updates[piece.part] = Update(a, b[piece_rows], scale, length)
    for key in tensors.keys() - used:
        raise SteadyPhiError(f"{path}: {key} belongs to no target of {CONFIG} in this model")
    if not updates:
        raise SteadyPhiError(f"{folder / CONFIG}: target_modules: {sorted(targets)} are not in this model")
    return updates


def read_settings(path: Path) -> dict[str, Any]:
    """Read peft's settings. Raises SteadyPhiError for unsupported settings."""
    values = configs.values(path)

    def check(key: str, good: bool) -> None:
        if not good:
            raise SteadyPhiError(f"{path}: {key}: {values.get(key)!r} cannot be merged or exported")

    check("peft_type", values.get("peft_type") == "LORA")
    check("r", type(values.get("r")) is int and values["r"] > 0)
    alpha = values.get("lora_alpha")
    check("lora_alpha", isinstance(alpha, int | float) and math.isfinite(alpha))
    targets = values.get("target_modules")
    check("target_modules", isinstance(targets, list) and all(isinstance(t, str) for t in targets))
    # Many of the possible names (PiSSA, OLoRA, LoftQ, …) mean that the base weights changed too.
    check("init_lora_weights", values.get("init_lora_weights") in (True, False, None))
    for key in values.keys() - _KNOWN:
        check(key, values[key] in (None, False, "none", [], {}))
    return values


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of an adapter. Raises SteadyPhiError when the file is missing or incomplete."""
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            safetensors_file.read_header(file, path.stat().st_size, path)
        return dict(load_file(path))
    except OSError as error:
        raise SteadyPhiError(f"{path}: {error.strerror}; run dvc repro finetune") from None


def write(folder: Path, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write the two files of an adapter. The same settings and tensors give the same bytes."""
    from safetensors.torch import save

    with atomic_file(folder / WEIGHTS) as path:  # save_file of safetensors would set mode 0600
        path.write_bytes(save(dict(tensors), metadata={"format": "pt"}))
    write_json(folder / CONFIG, dict(sorted(values.items())))


def _names(module: str, table: bool) -> tuple[str, str]:
    """Return peft's names for A and B of a module."""
    if table:
        return f"{module}.lora_embedding_A", f"{module}.lora_embedding_B"
    return f"{module}.lora_A.weight", f"{module}.lora_B.weight"


def _rows_of(pieces: tuple[layouts.Piece, ...]) -> Iterator[slice]:
    start = 0
    for piece in pieces:
        stop = start + piece.stop - piece.start
        yield slice(start, stop)
        start = stop


def _check(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise SteadyPhiError unless the expected tensors are present and finite, with the expected shapes."""
    for key, shape in expected.items():
        if key not in tensors:
            raise SteadyPhiError(f"{path}: {key} is missing; was it trained on this model?")
        if tensors[key].shape != shape:
            actual = tuple(tensors[key].shape)
            raise SteadyPhiError(f"{path}: {key} has shape {actual}, this model and rank need {shape}")
        if not tensors[key].isfinite().all():
            raise SteadyPhiError(f"{path}: {key} has NaN or infinite numbers")
