"""LoRA and DoRA adapters in peft's format: reading, checking against a model and merging.

LoRA adds scale · B A to the weight W of a Linear layer, where A and B are two small matrices (Hu et al.
2021, arXiv 2106.09685). Where q, k and v are one Linear layer, they share A, and each has separate rows of
B. The adapter of the combined layer can therefore be split into one adapter per part, without rounding.
DoRA (Liu et al. 2024, arXiv 2402.09353) then rescales each row of the sum to a learned norm. The adapter
of the embedding applies to the transposed table: A and B are swapped, and the columns are rescaled.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steadyphi.checkpoint import adapter_base, adapter_format, configs, layouts, source
from steadyphi.checkpoint.adapter_format import CONFIG, Module
from steadyphi.checkpoint.source import Checkpoint
from steadyphi.checkpoint.tensors import Stored
from steadyphi.errors import SteadyPhiError
from steadyphi.model_config import PhiConfig

BLOCK = 1 << 18  # elements merged at a time; in float32 they fit in the CPU cache
LEAST = 1e-15  # lower bound of a norm, so that rows of zeros stay zero


@dataclass(frozen=True, eq=False)
class Update:
    """The update of the weight of one part of the model.

    a, b: the matrices A of shape (r, columns) and B of shape (rows, r), in the stored dtype.
    alpha, scale: peft's alpha, and the factor of the product B A that follows from it and r.
    magnitude: DoRA's norm of each row, or of each column if `by_column` is true. None without DoRA.
    by_column: whether the columns are rescaled, as for the embedding.
    """

    a: Tensor
    b: Tensor
    alpha: float
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


def read_updates(folder: Path, base: Checkpoint) -> dict[str, Update]:
    """Return the updates of an adapter by the name of the part on the Hub.

    The adapter may be of a Phi in any layout, as written by the stage `finetune`, `steadyphi export` or peft.
    Raises SteadyPhiError when any part of it is unsupported or does not fit `base`, and when it is recorded
    that the adapter was trained on other weights.
    """
    adapter_base.check(folder, base)
    config = base.config
    values, path = configs.values(folder / CONFIG), weights_path(folder)
    stored = source.stored(path, lambda _: source.open_file(path))
    for problem in adapter_format.problems(path, values, stored, config.padded_vocab_size):
        raise SteadyPhiError(problem)
    updates: dict[str, Update] = {}
    for name, (module, tensor) in _adapted(path, values, stored, config).items():
        a, b = _read(stored, module.a), _read(stored, module.b)
        magnitude = _read(stored, module.magnitude) if module.magnitude else None
        factors = adapter_format.scale(name, module.r, values)
        if module.table:
            updates[layouts.EMBEDDING] = Update(b.t(), a.t(), *factors, magnitude, by_column=True)
            continue
        for part, rows in _rows_of(tensor.pieces).items():
            length = None if magnitude is None else magnitude[rows]
            updates[part] = Update(a, b[rows], *factors, length)
    return updates


def weights_path(folder: Path) -> Path:
    """Return the file with the tensors of an adapter. Raises SteadyPhiError when there is none."""
    return folder / adapter_format.weights_file({path.name for path in folder.iterdir()}, folder)


def _adapted(
    path: Path, values: Mapping[str, Any], stored: Mapping[str, Stored], config: PhiConfig
) -> dict[str, tuple[Module, layouts.Tensor]]:
    """Return the adapted modules of the model by name, in the layout that fits the adapter's names.

    Raises SteadyPhiError when the tensors of the adapter do not fit the model.
    """
    adapted = adapter_format.modules(stored)
    candidates = [_matrices(layout, config) for layout in layouts.LAYOUTS.values()]
    matrices = max(candidates, key=lambda known: len(known.keys() & adapted.keys()))
    for name, module in adapted.items():
        if name not in matrices:
            raise SteadyPhiError(
                f"{path}: {module.a}: this model has no {name}; was it trained on this model?"
            )
        rows, columns = matrices[name].shape
        inside, outside = (rows, columns) if module.table else (columns, rows)
        for key, shape in ((module.a, (module.r, inside)), (module.b, (outside, module.r))):
            if stored[key].shape != shape:
                raise SteadyPhiError(f"{path}: {key} has shape {stored[key].shape}, this model needs {shape}")
        if module.table != (matrices[name].pieces[0].part == layouts.EMBEDDING):
            raise SteadyPhiError(f"{path}: {module.a} has the form of another kind of layer than {name}")
    # With these settings, the list of targets may name more modules than are adapted.
    cut = [values.get(key) for key in ("exclude_modules", "layers_to_transform")]
    targets = adapter_format.listed_targets(values) if cut == [None, None] else None
    for name in matrices:
        if name not in adapted and layouts.is_target(name, targets or ()):
            raise SteadyPhiError(f"{path}: has no LoRA tensors of {name}; was it trained on this model?")
    return {name: (module, matrices[name]) for name, module in adapted.items()}


def _matrices(layout: layouts.Layout, config: PhiConfig) -> dict[str, layouts.Tensor]:
    """Return the weights of Linear layers and the embedding by the name of the module."""
    return {
        name.removesuffix(".weight"): tensor
        for name, tensor in layouts.tensors(layout, config).items()
        if name.endswith(".weight") and len(tensor.shape) == 2
    }


def _read(stored: Mapping[str, Stored], name: str) -> Tensor:
    tensor = stored[name]
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        data = bytearray(file.read(tensor.nbytes))
    numbers = torch.frombuffer(data, dtype=getattr(torch, tensor.dtype)).view(tensor.shape)
    if not numbers.isfinite().all():
        raise SteadyPhiError(f"{tensor.path}: {name} has NaN or infinite numbers")
    return numbers


def _names(module: str, table: bool) -> tuple[str, str]:
    """Return peft's names for A and B of a module."""
    if table:
        return f"{module}.lora_embedding_A", f"{module}.lora_embedding_B"
    return f"{module}.lora_A.weight", f"{module}.lora_B.weight"


def _rows_of(pieces: tuple[layouts.Piece, ...]) -> dict[str, list[int]]:
    """Return the rows of each part in the tensor that the pieces form."""
    rows: dict[str, list[int]] = {}
    start = 0
    for piece in pieces:
        stop = start + piece.stop - piece.start
        rows.setdefault(piece.part, []).extend(range(start, stop))
        start = stop
    return rows
