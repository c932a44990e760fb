"""Opens checkpoint folders of any format: the layout, the config and the location of each tensor."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from steadyphi import files
from steadyphi.checkpoint import causes, configs, layouts, safetensors_file, torch_zip
from steadyphi.checkpoint.indexes import INDEXES, SAFETENSORS, SINGLES, hint, read_index
from steadyphi.checkpoint.layouts import Layout
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, Stored
from steadyphi.errors import SteadyPhiError
from steadyphi.model_config import PhiConfig

LONGEST_INDEX = 64_000_000  # bytes; the index of Phi-2 has 36 thousand
_LFS = b"version https://git-lfs"
_BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number that older files begin with

Open = Callable[[str], tuple[BinaryIO, int]]  # file name -> (open file, size in bytes)


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint. `tensors` has all the tensors in its files, including buffers."""

    folder: Path
    layout: Layout
    config: PhiConfig
    tensors: Mapping[str, Stored]

    @property
    def dtype(self) -> str:
        """The dtype of the weights. Raises SteadyPhiError when the weights have several dtypes."""
        if problem := self.mixture():
            raise SteadyPhiError(problem)
        return next(iter(self.dtypes()))

    def mixture(self) -> str | None:
        """Return an error message when the weights have several dtypes, otherwise None."""
        by_type = self.dtypes()
        if len(by_type) < 2:
            return None
        names = ", ".join(f"{name} is {dtype}" for dtype, name in by_type.items())
        return (
            f"{self.folder}: the tensors have several dtypes: {names}; choose one with the option --dtype "
            "of steadyphi convert, or the setting convert.dtype"
        )

    def dtypes(self) -> dict[str, str]:
        """Return the dtypes of the weights, each mapped to the name of the first tensor with that dtype."""
        by_type: dict[str, str] = {}
        for name, tensor in self.tensors.items():
            if not layouts.is_buffer(self.layout, name):
                by_type.setdefault(tensor.dtype, name)
        return by_type


@dataclass
class Survey:
    """The contents of the headers of a checkpoint's files.

    tensors: the tensors of the readable files. When two files have a tensor of the same name, the
        first is kept.
    prefix: what a wrapper of the model left before every name; see `causes.prefix`. No name here has it.
    files: the names of the readable files.
    index, weight_map, total_size: the name and the contents of the index, if there is one.
    problems: error messages.
    """

    tensors: dict[str, Stored] = field(default_factory=dict)
    prefix: str = ""
    files: list[str] = field(default_factory=list)
    index: str | None = None
    weight_map: dict[str, str] = field(default_factory=dict)
    total_size: int | None = None
    problems: list[str] = field(default_factory=list)


def open_folder(folder: Path, from_safetensors: bool | None = None) -> Checkpoint:
    """Open the checkpoint in a folder and check that it is complete. No tensor data is read.

    from_safetensors: True reads only safetensors files, False only the other formats. None prefers
        safetensors.
    Raises SteadyPhiError when files are missing or damaged, or contradict each other or the config.
    """
    if not folder.is_dir():
        raise SteadyPhiError(f"{folder}: is not a folder" if folder.exists() else f"{folder}: not found")
    names = {path.name for path in folder.iterdir()}
    single = choose(names, from_safetensors, str(folder))
    tensors = locate(folder, single, names, lambda name: open_file(folder / name))
    if cause := causes.of_model(folder, tensors):
        raise SteadyPhiError(cause)
    try:
        layout = layouts.detect(tensors)
    except SteadyPhiError as error:
        raise SteadyPhiError(f"{folder}: {error}") from None
    opened = Checkpoint(folder, layout, configs.read(folder), tensors)
    check_shapes(opened)
    return opened


def open_file(path: Path) -> tuple[BinaryIO, int]:
    """Return an open file of a checkpoint and its size. Raises SteadyPhiError if it cannot be read."""
    try:
        return files.open_file(path)
    except OSError as error:
        raise SteadyPhiError(f"{path}: {error.strerror}; fetch it again") from None


def choose(names: set[str], from_safetensors: bool | None, where: str) -> str:
    """Return the entry of `SINGLES` to read the weights from, given the file names in a folder."""
    available = [single for single in SINGLES if single in names or INDEXES.get(single) in names]
    if not available and (cause := hint(names, where)):
        raise SteadyPhiError(cause)
    if from_safetensors is not None:
        available = [single for single in available if (single == SAFETENSORS) == from_safetensors]
    if not available:
        kind = {None: "", True: " in safetensors", False: " outside safetensors"}[from_safetensors]
        looked = ", ".join(SINGLES)
        raise SteadyPhiError(f"{where}: has no weights{kind}; looked for {looked} and their indexes")
    return available[0]


def locate(folder: Path, single: str, names: set[str], open_file: Open) -> dict[str, Stored]:
    """Return the location of each tensor, in a single file or in the shards listed in an index."""
    result = survey(folder, single, names, open_file)
    for problem in result.problems:
        raise SteadyPhiError(problem)
    return result.tensors


def survey(folder: Path, single: str, names: set[str], open_file: Open, *, places: bool = True) -> Survey:
    """Read the headers of all files, and collect problems instead of raising at the first.

    places: see `torch_zip.read`.
    """
    result, weight_map, total = Survey(), dict[str, str](), None
    index = INDEXES.get(single)
    if index is not None and index in names:
        result.index = index
        try:
            weight_map, total = read_index(_content(index, open_file), folder / index)
        except SteadyPhiError as error:
            result.problems.append(str(error))
            return result
    result.weight_map, result.total_size = weight_map, total
    shards = {}
    for name in sorted(set(weight_map.values())) or [single]:
        try:
            shards[name] = stored(folder / name, open_file, places)
        except SteadyPhiError as error:
            result.problems.append(str(error))
    result.files = list(shards)
    for tensors in shards.values():
        for name, tensor in tensors.items():
            result.tensors.setdefault(name, tensor)
    if index in names:
        result.problems += _contradictions(folder / str(index), weight_map, total, shards)
    if prefix := causes.prefix({**result.tensors, **weight_map}):
        cut = len(prefix)
        result.prefix = prefix
        result.tensors = {name[cut:]: tensor for name, tensor in result.tensors.items()}
        result.weight_map = {name[cut:]: file for name, file in weight_map.items()}
    return result


def _content(name: str, open_file: Open) -> bytes:
    file, size = open_file(name)
    with file:
        if size > LONGEST_INDEX:
            raise SteadyPhiError(f"{name}: is {size:,} bytes long, too long for a weight index")
        return file.read(size)


def stored(path: Path, open_file: Open, places: bool = True) -> dict[str, Stored]:
    """Return the tensors of one file by name. For `places` see `torch_zip.read`."""
    file, size = open_file(path.name)
    with file:
        if file.read(len(_LFS)) == _LFS:
            raise SteadyPhiError(f"{path}: is a pointer of Git LFS, not the weights; run git lfs pull")
        file.seek(0)
        if file.read(len(_BEFORE_ZIP)) == _BEFORE_ZIP:
            raise SteadyPhiError(
                f"{path}: is in the format that torch wrote before version 1.6; load it with "
                "torch.load(file, weights_only=True) and write it again with torch.save"
            )
        file.seek(0)
        if path.suffix == ".safetensors":
            return safetensors_file.read_header(file, size, path)
        return torch_zip.read(file, size, path, places=places)


def _contradictions(
    index: Path, weight_map: dict[str, str], total: int | None, shards: dict[str, dict[str, Stored]]
) -> Iterator[str]:
    """Yield the contradictions between the index and the readable shards."""
    seen: dict[str, Stored] = {}
    for shard, tensors in shards.items():
        for name, tensor in tensors.items():
            if name in seen:
                yield f"{index.parent}: both {seen[name].path.name} and {shard} have the tensor {name}"
            elif name not in weight_map:
                yield f"{index}: does not name {name}, which is in {shard}"
            seen.setdefault(name, tensor)
    for name, shard in weight_map.items():
        if shard in shards and name not in shards[shard]:
            yield f"{index}: says that {name} is in {shard}, but it is not"
    size = sum(tensor.nbytes for tensor in seen.values())
    if total is not None and total != size and shards.keys() >= set(weight_map.values()):
        yield f"{index}: total_size is {total:,}, the tensors take {size:,} bytes"


def check_shapes(checkpoint: Checkpoint) -> None:
    """Raise SteadyPhiError unless the names, shapes and dtypes of the tensors match the config."""
    for problem in misfits(checkpoint):
        raise SteadyPhiError(problem)


def misfits(checkpoint: Checkpoint, elsewhere: Collection[str] = ()) -> Iterator[str]:
    """Yield the differences between the tensors and the config.

    elsewhere: tensors in files that could not be read. They are not reported as missing.
    """
    folder, layout = checkpoint.folder, checkpoint.layout
    expected = layouts.tensors(layout, checkpoint.config)
    for name, tensor in expected.items():
        if name not in checkpoint.tensors:
            if name not in elsewhere:
                yield f"{folder}: the tensor {name} is missing; the configuration asks for it"
            continue
        actual = checkpoint.tensors[name]
        if actual.shape != tensor.shape:
            yield f"{folder}: {name} is {actual.shape}, the configuration asks for {tensor.shape}"
        if actual.dtype not in WEIGHT_BYTES:
            yield f"{folder}: {name} has the dtype {actual.dtype}; weights are {', '.join(WEIGHT_BYTES)}"
    for name in checkpoint.tensors:
        if name not in expected and not layouts.is_buffer(layout, name):
            yield f"{folder}: the tensor {name} belongs to no part of a Phi of this configuration"
