"""What a stage could not send to MLflow, kept in `.cache/mlflow/` until it is sent.

A record is a folder: the operations, one in a line, in the order in which they were to be sent, and copies of
the files that they name. It has no credentials: values are masked before, and of the server only the masked
address is kept, so that a record goes to no other server.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from steadyphi.errors import SteadyPhiError, mask
from steadyphi.files import fsync, read_bytes, write_text
from steadyphi.tracking import mlflow_store as store
from steadyphi.tracking.sending import Operation, Sender, start_line

OPERATIONS, DESTINATION, LOCK = "operations.jsonl", "destination", "lock"
MOST_LINE = 16 << 20  # bytes of an operation


def folder() -> Path:
    """Return the folder of the records."""
    return store.root() / ".cache" / "mlflow"


class Record:
    """The record of a running stage. It is locked, so that no other process sends it, until `close`."""

    def __init__(self) -> None:
        self.folder = folder() / f"{time.time_ns()}-{os.getpid()}"
        self.folder.mkdir(parents=True)
        self._lock = FileLock(self.folder / LOCK)
        self._lock.acquire()
        write_text(self.folder / DESTINATION, mask(store.tracking_uri()))
        self._count = 0

    def add(self, operation: Operation) -> None:
        """Append an operation, with a copy of the file or folder that it names."""
        self._count += 1
        if source := operation.get("path"):
            kept = Path("files") / str(self._count) / Path(source).name
            _copy(Path(source), self.folder / kept)
            operation = {**operation, "path": kept.as_posix()}
        with (self.folder / OPERATIONS).open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(operation) + "\n")
        fsync(self.folder / OPERATIONS)

    def close(self) -> None:
        """Let other processes send the record."""
        self._lock.release()


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder; link it if it is on the same disk, because stages replace files whole."""
    target.parent.mkdir(parents=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link)
    else:
        _link(str(source), str(target))


def _link(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def operations(record: Path) -> Iterator[Operation]:
    """Yield the operations of a record. A last line that was cut off by a kill is left out."""
    with (record / OPERATIONS).open("rb") as file:
        while (line := file.readline(MOST_LINE)).endswith(b"\n"):
            operation: dict[str, Any] = json.loads(line)
            if kept := operation.get("path"):
                path = (record / kept).resolve()
                if not path.is_relative_to(record.resolve()):
                    raise SteadyPhiError(f"{record / OPERATIONS}: {kept}: is outside the folder")
                operation["path"] = str(path)
            yield operation


def waiting() -> list[Path]:
    """Return the records for the present tracking server, the oldest first."""
    records = sorted(path.parent for path in folder().glob(f"*/{DESTINATION}"))
    here = mask(store.tracking_uri())
    return [r for r in records if read_bytes(r / DESTINATION).decode() == here and (r / OPERATIONS).exists()]


def send(record: Path) -> Sender:
    """Send a record and remove it. Sending it twice changes nothing. Raises what MLflow raises."""
    sender = Sender(again=True)
    for operation in operations(record):
        sender.send(operation)
    shutil.rmtree(record)
    return sender


def send_all() -> tuple[list[str], list[str]]:
    """Send the records that no running stage is still writing.

    Returns what was sent, and what was not: one line each, the latter with the reason. After a record that
    fails, the next one is tried only if the server answers.
    """
    sent: list[str] = []
    failed: list[str] = []
    for record in waiting():
        with contextlib.suppress(Timeout, FileNotFoundError), FileLock(record / LOCK, timeout=0):
            what = next(filter(None, map(start_line, operations(record))), record.name)
            try:
                send(record)
                sent.append(what)
            except Exception as error:  # the library below MLflow depends on the store
                failed.append(f"{what}: {store.reason(error)}; kept in {record}")
                if not _answers():
                    break
    return sent, failed


def _answers() -> bool:
    try:
        store.open_client().search_experiments(max_results=1)
    except Exception:
        return False
    return True
