"""Record stages in MLflow: one parent run (row) per experiment, with one child run per executed stage.

DVC starts each stage as a separate process, so nothing is kept in memory between stages. The parent run is
found by its tags, under a file lock. Tracking is optional: if it fails, it prints one line, and the stage
continues. What could not be sent is kept on disk and sent later (`pending`).
"""

import contextlib
import functools
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import psutil

from steadyphi.errors import mask
from steadyphi.tracking import mlflow_store as store
from steadyphi.tracking import pending, published
from steadyphi.tracking.published import Published
from steadyphi.tracking.sending import ON_ARTIFACTS, Operation, Sender, refused, row
from steadyphi.tracking.values import allowed_name, finite, flat_params

FLUSH_SECONDS = 2.0
SAMPLING_SECONDS = 5
RETRY_SECONDS = 60  # until a server that failed is tried again; doubled after each failure
KEPT = "it is kept in .cache/mlflow, and sent by the next stage or python -m stages.publish --pending"

P = ParamSpec("P")


def _never_fails(
    method: Callable[Concatenate["StageRun", P], None],
) -> Callable[Concatenate["StageRun", P], None]:
    """Skip `method` if tracking is off. If `method` fails, turn tracking off and print one line to stderr."""

    @functools.wraps(method)
    def guarded(self: "StageRun", *args: P.args, **kwargs: P.kwargs) -> None:
        with self._lock:  # system metrics come from a thread
            if not self._on:
                return
            try:
                method(self, *args, **kwargs)
            except Exception as error:
                self._on = False
                self._warn(f"{store.reason(error)}; the stage goes on without tracking")

    return guarded


class StageRun:
    """The MLflow run of one stage. No method raises, even if the store fails."""

    def __init__(self) -> None:
        self._on = True
        self._lock = threading.RLock()
        self._warned = False
        self._sender = Sender()
        self._first: Operation = {}
        self._record: pending.Record | None = None
        self._failing: set[str] = set()  # the kinds of operations that are kept instead of sent
        self._retry_seconds, self._retry_at = RETRY_SECONDS, 0.0
        self._monitor: Any = None
        self._buffer: list[tuple[str, float, int, int]] = []
        self._flushed = time.monotonic()

    @property
    def complete(self) -> bool:
        """Whether MLflow has everything that was logged until now."""
        return self._on and self._record is None

    @_never_fails
    def params(self, settings: Mapping[str, Any]) -> None:
        """Log nested settings as this stage's params."""
        self._do("params", params=flat_params(settings))

    @_never_fails
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics; they are sent in batches every two seconds and at the end of the stage."""
        now = _now()
        self._buffer += [(allowed_name(k), finite(v), now, step or 0) for k, v in values.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    @_never_fails
    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file, or a folder under its own name, to this stage's artifacts below `folder`."""
        self._do("artifact", path=str(path), folder=folder, of_row=False)

    @_never_fails
    def text(self, text: str, name: str) -> None:
        """Log a text as an artifact of this stage; `name` may contain folders."""
        self._do("text", text=mask(text), name=name)

    @_never_fails
    def output(self, name: str, digest: str) -> None:
        """Tag the run with the digest of the stage's output `name`."""
        self._do("tag", key=f"output.{name}", value=digest)

    @_never_fails
    def summary(self, content: Published) -> None:
        """Write what the experiment's parent run shows, and mark it FINISHED.

        Only this method writes it, because a cached or skipped stage runs no code. Repeating a call
        changes nothing; a changed metric replaces the old value.
        """
        for path in content.artifacts:
            self._do("artifact", path=str(path), folder="", of_row=True)
        self._do("summary", content=published.to_json(content))

    @_never_fails
    def register(self, folder: Path, version: Mapping[str, Any]) -> None:
        """Register the MLflow model in `folder` as `registry.register` says. Comes after `summary`."""
        self._do("register", path=str(folder), version=dict(version))

    def _do(self, do: str, **values: Any) -> None:
        """Send an operation, or keep it on disk if the server or its artifact store fails."""
        operation = {"do": do, **values}
        kind = "artifacts" if do in ON_ARTIFACTS else "store"
        if self._failing and time.monotonic() > self._retry_at:
            self._retry()
        if not self._failing & {kind, "store"}:
            try:
                self._sender.send(operation)
                return
            except Exception as error:
                if refused(error):
                    raise
                self._failing.add(kind)
                self._wait()
                self._warn(f"{self._where(kind)}{store.reason(error)}; {KEPT}")
        self._keep(operation)

    def _keep(self, operation: Operation) -> None:
        if self._record is None:
            record = pending.Record()
            record.add(self._first)  # every record has it, because nothing can be sent without it
            self._record = record
        if operation is not self._first:
            self._record.add(operation)

    def _where(self, kind: str) -> str:
        where = "" if kind == "store" else mask(self._sender.parent.info.artifact_uri)
        return where and f"the artifact store {where} fails: "

    def _wait(self) -> None:
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds *= 2

    def _retry(self) -> None:
        """Send what was kept. If it fails, try again after twice the time."""
        assert self._record
        try:
            self._sender = pending.send(self._record.folder)
        except Exception:
            self._wait()
            return
        self._record.close()
        self._record, self._failing = None, set()

    def _flush(self) -> None:
        points, self._buffer = self._buffer, []
        self._flushed = time.monotonic()
        if points:
            self._do("metrics", points=points)

    @_never_fails
    def _start(self, row: Mapping[str, Any], child: Mapping[str, Any] | None, time_: int) -> None:
        self._first = {"do": "start", "row": dict(row), "child": child, "time": time_}
        self._do(**self._first)
        if not self._failing:
            for reason in pending.send_all()[1]:
                self._warn(reason)
        if child:
            self._start_monitor()

    def _start_monitor(self) -> None:
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in ("false", "0"):
            return
        from steadyphi.tracking.system_metrics import monitor

        self._monitor = monitor(self.metrics, SAMPLING_SECONDS)
        self._monitor.start()

    @_never_fails
    def _finish_logging(self) -> None:
        self._flush()

    def _end(self, status: str) -> None:
        if self._monitor:
            self._monitor.finish()  # outside the lock, which its thread may be waiting for
        self._finish_logging()
        self._on = bool(self._sender.parent or self._record)  # what was started must be ended
        self._terminate(status)
        if self._record:
            self._record.close()

    @_never_fails
    def _terminate(self, status: str) -> None:
        end: Operation = {"do": "end", "status": status, "time": _now()}
        self._do(**end)
        if self._record and "store" not in self._failing:
            self._keep(end)  # for when the artifacts are sent, because each sending starts the run again

    def _warn(self, problem: str) -> None:
        if not self._warned:
            print(f"warning: MLflow: {problem}", file=sys.stderr)
        self._warned = True


def _now() -> int:
    return int(time.time() * 1000)


@contextlib.contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Let SIGTERM unwind the stack like Ctrl-C, unless the stage has its own handler."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def unrecorded() -> StageRun:
    """Return a run that records nothing, for all processes of a stage except the first."""
    run = StageRun()
    run._on = False
    return run


@contextlib.contextmanager
def stage_run(
    stage: str, *, experiment: str, digest: str, settings: Mapping[str, Any], title: str
) -> Iterator[StageRun]:
    """Record a stage as a child run of its experiment's row.

    `experiment` is the MLflow experiment's name, and `title` that of the row, unless DVC names it.
    `settings` are all settings, the params of the row, and `digest` is their digest, 12 hex digits.
    The run's final status is FINISHED; FAILED after an exception; KILLED after SIGTERM, Ctrl-C or `sys.exit`.
    """
    origin = store.origin()
    dvc_name = os.environ.get("DVC_EXP_NAME")
    parent = row(experiment, digest, settings, title, dvc_name)
    parent["tags"] |= store.owner_tag() | origin
    # DVC_STAGE may include the file: path/to/dvc.yaml:evaluate@base
    name = os.environ.get("DVC_STAGE", stage).rpartition(":")[2]
    tags = {
        store.STAGE: name,
        "dvc.experiment": dvc_name,
        store.SOURCE: f"stages/{name.partition('@')[0]}.py",
        store.PROCESS: store.identity(psutil.Process()),
        store.RECORD: uuid.uuid4().hex,
        **origin,
    }
    named = f"{name} · {parent['name']}"
    child = {"name": named, "tags": {key: value for key, value in tags.items() if value}}
    with _recorded(parent, child, _now()) as run:
        yield run


@contextlib.contextmanager
def row_run(parent: Mapping[str, Any], tags: Mapping[str, str], time_: int) -> Iterator[StageRun]:
    """Write the row of an experiment without running a stage.

    parent: as `row` returns it. tags: more tags of a new row. time_: of its start and end, in ms.
    """
    with _recorded({**parent, "tags": {**parent["tags"], **tags}}, None, time_) as run:
        yield run


@contextlib.contextmanager
def _recorded(parent: Mapping[str, Any], child: Mapping[str, Any] | None, time_: int) -> Iterator[StageRun]:
    run = StageRun()
    run._start(parent, child, time_)
    status = "FINISHED"
    try:
        with _sigterm_exits():
            yield run
    except Exception:
        status = "FAILED"
        raise
    except BaseException:
        status = "KILLED"
        raise
    finally:
        run._end(status)
