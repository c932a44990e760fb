"""A run's state on disk, from which any number of processes can resume the run.

    <folder>/step-00000120/   trained weights, AdamW's moments, and record.json with the rest of the state
    <folder>/best-00000090/   the weights of the best validation

torch.distributed.checkpoint writes each state under a hidden name. It is then renamed, and only after that
are older states removed.
"""

import contextlib
import hashlib
import io
import json
import pickle
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from filelock import FileLock, Timeout
from torch import Tensor, distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata, StorageMeta

import steadyphi
from steadyphi.errors import SteadyPhiError
from steadyphi.files import fsync, sha256, write_json
from steadyphi.runtime import ranks
from steadyphi.training.remote_state import RemoteState

RECORD = "record.json"
THREADS = 4  # that write the state of a process, each into its own file
PACKAGE = Path(steadyphi.__file__).parent
# The modules that determine the result of a run. If one of them changes, a run starts from the beginning.
DECIDING = (
    "budget/loss_chunks.py",
    "checkpoint/adapter_format.py",
    "checkpoint/layouts.py",
    "data/packing.py",
    "model.py",
    "model_config.py",
    "runtime/device.py",
    "runtime/ranks.py",
    "runtime/workers.py",
    "training/adapters.py",
    "training/history.py",
    "training/loop.py",
    "training/lora.py",
    "training/loss.py",
    "training/optimizer.py",
    "training/parallel.py",
    "training/plan.py",
    "training/quantized.py",
    "training/rounding.py",
    "training/run_store.py",
)


def digest(settings: object, dtype: torch.dtype, device: torch.device, inputs: Sequence[Path]) -> str:
    """Return a digest (16 hex digits) of all that determines a run: settings, dtype, device, inputs and code.

    The number of processes is not included, because more or fewer processes may resume a run.
    """
    parts = [repr(settings), str(dtype), device.type, torch.__version__]
    parts += [sha256(path) for path in (*inputs, *(PACKAGE / name for name in DECIDING))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class Store:
    """The saved states in a folder; each folder belongs to one configuration and its inputs.

    remote: where the states are copied to, and fetched from if they are newer there.
    """

    def __init__(self, folder: Path, remote: RemoteState | None = None) -> None:
        self.folder, self.remote = folder, remote

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder; another run with the same settings and inputs waits until this run ends."""
        if ranks.rank():
            yield
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(
                "finetune: waiting for another run of the same settings and data", file=sys.stderr, flush=True
            )
            lock.acquire()
        with lock:
            if self.remote:
                self.remote.fetch(self.folder)
            yield

    def save(self, step: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any], best: int) -> None:
        """Save the state after `step` and remove all others except the weights of step `best`.

        All processes must call it. If a state of this step exists, it is identical, and nothing is done.
        """
        if ranks.gather((self.folder / f"step-{step:08}").exists())[0]:
            return
        self._write(f"step-{step:08}", tensors, record)
        if ranks.rank() == 0:
            kept = {f"step-{step:08}", f"best-{best:08}"}
            if self.remote:
                self.remote.send(self.folder / f"step-{step:08}", kept)
            for folder in self.folder.iterdir():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)

    def record(self) -> dict[str, Any] | None:
        """Return the record of the newest state, or None if there is no state."""
        newest = max(self.folder.glob("step-*"), default=None)
        return json.loads((newest / RECORD).read_text()) if newest else None

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill `tensors` in place from the newest state."""
        self._read(max(self.folder.glob("step-*")), tensors)

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Save the weights of the best validation so far; the weights that the last state names are kept."""
        self._write(f"best-{step:08}", tensors, {})
        if self.remote and ranks.rank() == 0:
            others = {path.name for path in self.folder.iterdir()}  # as the last state still names its own
            self.remote.send(self.folder / f"best-{step:08}", others)

    def load_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Fill `tensors` in place with the weights of the validation at `step`."""
        self._read(self.folder / f"best-{step:08}", tensors)

    def clear(self) -> None:
        """Remove all states; called after the result has been written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.remote:
            self.remote.clear()

    def _write(self, name: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        hidden, final = self.folder / f".{name}.tmp", self.folder / name
        if ranks.rank() == 0:
            shutil.rmtree(hidden, ignore_errors=True)
            hidden.mkdir(parents=True)
        _meet()
        writer = FileSystemWriter(str(hidden), thread_count=THREADS)  # it fsyncs what it writes
        try:
            with _alone() as alone:
                checkpoint.save(dict(tensors), storage_writer=writer, no_dist=alone)
        except (checkpoint.CheckpointException, OSError) as error:
            raise SteadyPhiError(
                f"{hidden}: the state cannot be saved ({_reason(error)}); "
                "the next run resumes from the previous state"
            ) from None
        if ranks.rank() == 0:
            write_json(hidden / RECORD, record)
            shutil.rmtree(final, ignore_errors=True)
            hidden.rename(final)
            fsync(self.folder)
        _meet()

    def _read(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        try:
            reader = _Reader(str(folder))
            reader.read_metadata()  # first, because torch would log pages about a damaged one
            with _alone() as alone:
                checkpoint.load(dict(tensors), storage_reader=reader, no_dist=alone)
        except (checkpoint.CheckpointException, Exception) as error:  # the first derives from BaseException
            raise SteadyPhiError(
                f"{folder}: the saved state cannot be read ({_reason(error)}); "
                f"remove the folder {self.folder} to start from the beginning"
            ) from None


def _reason(error: BaseException) -> str:
    """Return the reason of an error in one line, whichever process it occurred in."""
    if isinstance(error, checkpoint.CheckpointException):
        error = next(iter(error.failures.values()))[0]
    return " ".join((str(error) or type(error).__name__).split())[:200]


def training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return all tensors that training changes, by name; AdamW's moments are created if missing."""
    tensors = trained_weights(model)
    for name, parameter in _trained(model):
        state = optimizer.state[parameter]
        if not state:  # as torch's fused AdamW creates it in its first step
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        tensors |= {f"{key}/{name}": value for key, value in state.items()}
    return tensors


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained weights, by name."""
    return {f"weight/{name}": parameter.detach() for name, parameter in _trained(model)}


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


@contextlib.contextmanager
def _alone() -> Iterator[bool]:
    """Yield whether the run is a single process, and suppress torch's warning about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield ranks.world_size() == 1


def _meet() -> None:
    if ranks.world_size() > 1:
        distributed.barrier()


class _Reader(FileSystemReader):
    """torch's reader, except that its metadata, a pickle, is unpickled without running any code."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        metadata: Metadata = _Unpickler(io.BytesIO((Path(self.path) / ".metadata").read_bytes())).load()
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Unpickler(pickle.Unpickler):
    """An unpickler that allows only the names that a checkpoint's metadata contains."""

    NAMES: ClassVar = {
        "torch.distributed.checkpoint.metadata": {
            *("Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "TensorProperties"),
            *("ChunkStorageMetadata", "_MEM_FORMAT_ENCODING"),
        },
        "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
        "torch.serialization": {"_get_layout"},
        "torch": {"Size", "float32", "bfloat16", "float64"},
        "collections": {"OrderedDict"},
        "pathlib": {"PosixPath", "WindowsPath"},
    }

    def find_class(self, module: str, name: str) -> Any:
        # Early releases of Python 3.11 pickle an enum member as a call of getattr.
        if (module, name) == ("builtins", "getattr"):
            return _enum_member
        if name not in self.NAMES.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def _enum_member(kind: Any, name: str) -> Any:
    """Return a member of the only enum that a checkpoint's metadata contains; nothing else is looked up."""
    if kind is not _MEM_FORMAT_ENCODING or name not in kind.__members__:
        raise pickle.UnpicklingError("it names builtins.getattr")
    return kind[name]
