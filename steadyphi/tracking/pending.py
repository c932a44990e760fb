"""What a stage could not send to MLflow, kept in `.cache/mlflow/` until it is sent.

A record is a folder: the operations, one in a line, in the order in which they were to be sent, and copies of
the files that they name. It has no credentials: values are masked before, and of the server only the masked
address is kept, so that a record goes to no other server.
"""

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from steadyphi.errors import SteadyPhiError, mask
from steadyphi.files import fsync, read_bytes, write_text
from steadyphi.tracking import mlflow_store as store
from steadyphi.tracking.sending import Operation, Sender, refused, start_line

OPERATIONS, DESTINATION, LOCK = "operations.jsonl", "destination", "lock"
SENT = ".sent"  # ends the name of a record that is being removed
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
        """Append an operation, with a copy of the file or folder that it names.

        Raises SteadyPhiError for an operation of more than `MOST_LINE` bytes, and OSError if it cannot be
        written. The record then stays as it was.
        """
        self._count += 1
        source, kept = operation.get("path"), Path("files") / str(self._count)
        if source:
            kept /= Path(source).name
            operation = {**operation, "path": kept.as_posix()}
        line = json.dumps(operation).encode() + b"\n"
        if len(line) > MOST_LINE:
            raise SteadyPhiError(f"{operation['do']}: has {len(line)} bytes, more than {MOST_LINE}; log less")
        if source:
            _copy(Path(source), self.folder / kept)
        _append(self.folder / OPERATIONS, line)

    def close(self) -> None:
        """Let other processes send the record."""
        self._lock.release()


def _append(path: Path, line: bytes) -> None:
    """Append a line. If it fails, the file stays as it was: half a line would damage the next one."""
    path.touch()
    size = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(line)
        fsync(path)
    except BaseException:
        os.truncate(path, size)
        raise


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
    """Yield the operations of a record. A last line that was cut off by a kill is left out.

    Raises SteadyPhiError for a damaged line, and for a path outside the folder of the record.
    """
    with (record / OPERATIONS).open("rb") as file:
        number = 0
        while line := file.readline(MOST_LINE):
            number += 1
            where = f"{record / OPERATIONS}: line {number}"
            if len(line) == MOST_LINE and not line.endswith(b"\n"):
                raise SteadyPhiError(f"{where}: has more than {MOST_LINE} bytes; delete the folder")
            if line.endswith(b"\n"):
                yield _operation(line, record, where)


def _operation(line: bytes, record: Path, where: str) -> Operation:
    try:
        operation: dict[str, Any] = json.loads(line)
        kept = operation.get("path")
    except (ValueError, AttributeError, RecursionError):
        raise SteadyPhiError(f"{where}: is damaged; delete the folder") from None
    if kept:
        path = (record / kept).resolve()
        if not path.is_relative_to(record.resolve()):
            raise SteadyPhiError(f"{where}: {kept}: is outside the folder; delete the folder")
        operation["path"] = str(path)
    return operation


def waiting() -> list[Path]:
    """Return the records for the present tracking server, the oldest first."""
    records = sorted(p.parent for p in folder().glob(f"*/{DESTINATION}") if p.parent.suffix != SENT)
    here = mask(store.tracking_uri())
    return [r for r in records if read_bytes(r / DESTINATION).decode() == here and (r / OPERATIONS).exists()]


def send(record: Path) -> Sender:
    """Send a record and remove it. Sending it twice changes nothing. Raises what MLflow raises.

    What MLflow refuses because of its content is left out with a warning, except the start of a run.
    """
    sender = Sender(again=True)
    for operation in operations(record):
        try:
            sender.send(operation)
        except Exception as error:
            if not refused(error) or operation["do"] == "start":
                raise
            problem = f"refuses {operation['do']}, which is left out: {store.reason(error)}"
            print(f"warning: MLflow: {record.name}: {problem}", file=sys.stderr)
    sender.reap()
    # A kill leaves the whole record, or a folder that is no record.
    removed = record.rename(record.with_name(record.name + SENT))
    shutil.rmtree(removed)
    return sender


def send_all() -> tuple[list[str], list[str]]:
    """Send the records that no running stage is still writing.

    Returns what was sent, and what was not: one line each, the latter with the reason. After a record that
    fails, the next one is tried only if the server answers.
    """
    sent: list[str] = []
    failed: list[str] = []
    for left in folder().glob(f"*{SENT}"):
        shutil.rmtree(left, ignore_errors=True)
    for record in waiting():
        with contextlib.suppress(Timeout, FileNotFoundError), FileLock(record / LOCK, timeout=0):
            if not (record / OPERATIONS).exists():  # another process has sent it
                shutil.rmtree(record, ignore_errors=True)
                continue
            what = record.name
            try:
                what = next(filter(None, map(start_line, operations(record))), what)
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
