"""A run's state on disk, from which any number of processes can resume the run.

    <folder>/step-00000120/   trained weights, AdamW's moments, and record.json with the rest of the state
    <folder>/best-00000090/   the weights of the best validation

torch.distributed.checkpoint writes each state under a hidden name. It is then renamed, and only after that
are older states removed. Training goes on meanwhile if memory has room for a copy of the state: the copy is
written by a thread, and the next state waits for that.
"""

import contextlib
import hashlib
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.filesystem import FileSystemWriter

import steadyphi
from steadyphi.errors import SteadyPhiError
from steadyphi.files import fsync, sha256, write_json
from steadyphi.runtime import ranks
from steadyphi.training.background import Background, Copies, local
from steadyphi.training.remote_state import RemoteState
from steadyphi.training.state_reader import StateReader

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
    "training/background.py",
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
    "training/state_reader.py",
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
    room: the bytes that the copy of a state may take in this process; training waits for a larger one to be
        written. If it is None, any state may be copied.
    """

    def __init__(self, folder: Path, remote: RemoteState | None = None, room: int | None = None) -> None:
        self.folder, self.remote, self.room = folder, remote, room
        self._copies, self._writer, self._told = Copies(), Background(), False
        self._group: distributed.ProcessGroup | None = None
        # Said of a run of one process.
        warnings.filterwarnings("ignore", "torch.distributed is disabled")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder; another run with the same settings and inputs waits until this run ends."""
        with self._locked():
            try:
                yield
            except Exception:
                with contextlib.suppress(Exception):  # the first error counts
                    self.wait()
                raise
            self.wait()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
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

        All processes must call it. The state may be written only after the call: see `wait`. If a state of
        this step exists, it is identical, and nothing is done.
        """
        self.wait()
        name = f"step-{step:08}"
        if ranks.gather((self.folder / name).exists())[0]:
            return
        kept = {name, f"best-{best:08}"}

        def written() -> None:
            if self.remote:
                self.remote.send(self.folder / name, kept)
            for folder in self.folder.iterdir():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)

        self._write(name, tensors, record, written)

    def wait(self) -> None:
        """Wait until the state that was saved last is on the disk, and has been sent.

        Raises SteadyPhiError if it could not be written.
        """
        self._writer.wait()

    def record(self) -> dict[str, Any] | None:
        """Return the record of the newest state, or None if there is no state."""
        self.wait()
        newest = max(self.folder.glob("step-*"), default=None)
        return json.loads((newest / RECORD).read_text()) if newest else None

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill `tensors` in place from the newest state."""
        self.wait()
        self._read(max(self.folder.glob("step-*")), tensors)

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Save the weights of the best validation so far; the weights that the last state names are kept."""
        self.wait()
        name = f"best-{step:08}"

        def written() -> None:
            if self.remote:
                # The last state still names its own best weights.
                self.remote.send(self.folder / name, {path.name for path in self.folder.iterdir()})

        self._write(name, tensors, {}, written)

    def load_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Fill `tensors` in place with the weights of the validation at `step`."""
        self.wait()
        self._read(self.folder / f"best-{step:08}", tensors)

    def clear(self) -> None:
        """Remove all states; called after the result has been written."""
        self.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.remote:
            self.remote.clear()

    def _write(
        self, name: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any], written: Callable[[], None]
    ) -> None:
        """Write a state, in a thread if there is room for a copy; then the first process calls `written`."""
        if self._group is None and ranks.world_size() > 1:
            # The thread's messages must not mix with those of training.
            self._group = distributed.new_group(backend="gloo")
        if self._fits(sum(local(tensor).nbytes for tensor in tensors.values())):
            copies = self._copies.of(tensors)
            self._writer.start(lambda: self._put(name, copies, record, written))
        else:
            self._put(name, tensors, record, written)

    def _fits(self, size: int) -> bool:
        """Return whether there is room for a copy of `size` bytes; if not, say so once."""
        if self.room is None or size <= self.room:
            return True
        if not self._told and ranks.rank() == 0:
            free = f"{max(0, self.room) / 1e9:.2f} GB"
            print(
                f"finetune: waits whenever its state is written, because a copy of {size / 1e9:.2f} GB does "
                f"not fit into the {free} of memory that are left",
                file=sys.stderr,
                flush=True,
            )
        self._told = True
        return False

    def _put(
        self, name: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any], written: Callable[[], None]
    ) -> None:
        hidden, final = self.folder / f".{name}.tmp", self.folder / name
        if ranks.rank() == 0:
            shutil.rmtree(hidden, ignore_errors=True)
            hidden.mkdir(parents=True)
        self._meet()
        writer = FileSystemWriter(str(hidden), thread_count=THREADS)  # it fsyncs what it writes
        try:
            checkpoint.save(
                dict(tensors),
                storage_writer=writer,
                process_group=self._group,
                no_dist=ranks.world_size() == 1,
            )
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
        self._meet()
        if ranks.rank() == 0:
            written()

    def _meet(self) -> None:
        if self._group is not None:
            distributed.barrier(group=self._group)

    def _read(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        try:
            reader = StateReader(str(folder))
            reader.read_metadata()  # first, because torch would log pages about a damaged one
            checkpoint.load(dict(tensors), storage_reader=reader, no_dist=ranks.world_size() == 1)
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
