"""A checkpoint folder of any kind, opened: its layout, its shape, and where each tensor lies."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from steadyphi.checkpoint import configs, layouts, safetensors_file, torch_zip
from steadyphi.checkpoint.indexes import INDEXES, SAFETENSORS, SINGLES, read_index
from steadyphi.checkpoint.layouts import Layout
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, Stored
from steadyphi.errors import SteadyPhiError
from steadyphi.model_config import PhiConfig

LONGEST_INDEX = 64_000_000  # bytes; that of Phi-2 has 36 thousand
_LFS = b"version https://git-lfs"

Open = Callable[[str], tuple[BinaryIO, int]]  # a file's name -> the open file and its size


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint; `tensors` has those that lie in its files, buffers too."""

    folder: Path
    layout: Layout
    config: PhiConfig
    tensors: Mapping[str, Stored]

    @property
    def dtype(self) -> str:
        """The type of its weights; SteadyPhiError when they are of several, or of none that is known."""
        if problem := self.mixture():
            raise SteadyPhiError(problem)
        return next(iter(self.dtypes()))

    def mixture(self) -> str | None:
        """Return what is to be said when its weights are of several types."""
        by_type = self.dtypes()
        if len(by_type) < 2:
            return None
        some = ", ".join(f"{name} is {dtype}" for dtype, name in by_type.items())
        return f"{self.folder}: the tensors are of several types: {some}; ask for one"

    def dtypes(self) -> dict[str, str]:
        """Return the types of its weights, each with the name of the first tensor that is of it."""
        by_type: dict[str, str] = {}
        for name, tensor in self.tensors.items():
            if not layouts.is_buffer(self.layout, name):
                by_type.setdefault(tensor.dtype, name)
        return by_type


@dataclass
class Survey:
    """What the headers of a checkpoint's files say.

    files: those that could be read; tensors: theirs, of two by one name the first.
    index, weight_map, total_size: the index, where there is one.
    """

    tensors: dict[str, Stored] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    index: str | None = None
    weight_map: dict[str, str] = field(default_factory=dict)
    total_size: int | None = None
    problems: list[str] = field(default_factory=list)


def open_folder(folder: Path, from_safetensors: bool | None = None) -> Checkpoint:
    """Open the checkpoint in a folder and check that it is whole: no numbers are read.

    from_safetensors: which weights to take where there are both; None takes safetensors first.
    Raises SteadyPhiError when files are missing, damaged, or contradict one another or the config.
    """
    if not folder.is_dir():
        raise SteadyPhiError(f"{folder}: is not a folder" if folder.exists() else f"{folder}: not found")
    names = {path.name for path in folder.iterdir()}
    single = choose(names, from_safetensors, str(folder))

    def open_file(name: str) -> tuple[BinaryIO, int]:
        path = folder / name
        try:
            return path.open("rb"), path.stat().st_size
        except OSError as error:
            raise SteadyPhiError(f"{path}: {error.strerror}; fetch it again") from None

    tensors = locate(folder, single, names, open_file)
    try:
        layout = layouts.detect(tensors)
    except SteadyPhiError as error:
        raise SteadyPhiError(f"{folder}: {error}") from None
    opened = Checkpoint(folder, layout, configs.read(folder), tensors)
    check_shapes(opened)
    return opened


def choose(names: set[str], from_safetensors: bool | None, where: str) -> str:
    """Return which of `SINGLES` stands for the weights among files of these names."""
    there = [single for single in SINGLES if single in names or INDEXES.get(single) in names]
    if from_safetensors is not None:
        there = [single for single in there if (single == SAFETENSORS) == from_safetensors]
    if not there:
        kind = {None: "", True: " in safetensors", False: " outside safetensors"}[from_safetensors]
        looked = ", ".join(SINGLES)
        raise SteadyPhiError(f"{where}: has no weights{kind}; looked for {looked} and their indexes")
    return there[0]


def locate(folder: Path, single: str, names: set[str], open_file: Open) -> dict[str, Stored]:
    """Return where each tensor lies, in one file or in the shards that an index names."""
    found = survey(folder, single, names, open_file)
    for problem in found.problems:
        raise SteadyPhiError(problem)
    return found.tensors


def survey(folder: Path, single: str, names: set[str], open_file: Open, *, places: bool = True) -> Survey:
    """Read every header there is, and say what is wrong instead of stopping at it.

    places: see `torch_zip.read`.
    """
    found, weight_map, total = Survey(), dict[str, str](), None
    index = INDEXES.get(single)
    if index is not None and index in names:
        found.index = index
        try:
            weight_map, total = read_index(_content(index, open_file), folder / index)
        except SteadyPhiError as error:
            found.problems.append(str(error))
            return found
    found.weight_map, found.total_size = weight_map, total
    shards = {}
    for name in sorted(set(weight_map.values())) or [single]:
        try:
            shards[name] = stored(folder / name, open_file, places)
        except SteadyPhiError as error:
            found.problems.append(str(error))
    found.files = list(shards)
    for tensors in shards.values():
        for name, tensor in tensors.items():
            found.tensors.setdefault(name, tensor)
    if index in names:
        found.problems += _contradictions(folder / str(index), weight_map, total, shards)
    return found


def _content(name: str, open_file: Open) -> bytes:
    file, size = open_file(name)
    with file:
        if size > LONGEST_INDEX:
            raise SteadyPhiError(f"{name}: is {size:,} bytes long, too long for a weight index")
        return file.read(size)


def stored(path: Path, open_file: Open, places: bool = True) -> dict[str, Stored]:
    """Return the tensors of one file by name; for `places` see `torch_zip.read`."""
    file, size = open_file(path.name)
    with file:
        if file.read(len(_LFS)) == _LFS:
            raise SteadyPhiError(f"{path}: is a pointer of Git LFS, not the weights; run git lfs pull")
        file.seek(0)
        if path.suffix == ".safetensors":
            return safetensors_file.read_header(file, size, path)
        return torch_zip.read(file, size, path, places=places)


def _contradictions(
    index: Path, weight_map: dict[str, str], total: int | None, shards: dict[str, dict[str, Stored]]
) -> Iterator[str]:
    """Yield what the index and the shards that could be read do not agree about."""
    found: dict[str, Stored] = {}
    for shard, tensors in shards.items():
        for name, tensor in tensors.items():
            if name in found:
                yield f"{index.parent}: both {found[name].path.name} and {shard} have the tensor {name}"
            elif name not in weight_map:
                yield f"{index}: does not name {name}, which lies in {shard}"
            found.setdefault(name, tensor)
    for name, shard in weight_map.items():
        if shard in shards and name not in shards[shard]:
            yield f"{index}: says that {name} lies in {shard}; it does not"
    size = sum(tensor.nbytes for tensor in found.values())
    if total is not None and total != size and shards.keys() >= set(weight_map.values()):
        yield f"{index}: total_size is {total:,}, the tensors take {size:,} bytes"


def check_shapes(checkpoint: Checkpoint) -> None:
    """Raise SteadyPhiError unless the tensors are those that the config asks for, each of its shape."""
    for problem in misfits(checkpoint):
        raise SteadyPhiError(problem)


def misfits(checkpoint: Checkpoint, elsewhere: Collection[str] = ()) -> Iterator[str]:
    """Yield what is wrong with the tensors, measured by the config.

    elsewhere: tensors that lie in a file that could not be read, and so are not called missing.
    """
    folder, layout = checkpoint.folder, checkpoint.layout
    wanted = layouts.tensors(layout, checkpoint.config)
    for name, tensor in wanted.items():
        if name not in checkpoint.tensors:
            if name not in elsewhere:
                yield f"{folder}: the tensor {name} is missing; the configuration asks for it"
            continue
        found = checkpoint.tensors[name]
        if found.shape != tensor.shape:
            yield f"{folder}: {name} is {found.shape}, the configuration asks for {tensor.shape}"
        if found.dtype not in WEIGHT_BYTES:
            yield f"{folder}: {name} is of the type {found.dtype}; weights are {', '.join(WEIGHT_BYTES)}"
    for name in checkpoint.tensors:
        if name not in wanted and not layouts.is_buffer(layout, name):
            yield f"{folder}: the tensor {name} belongs to no part of a Phi of this configuration"
