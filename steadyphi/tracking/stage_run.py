"""Record stages in MLflow: one parent run (row) per experiment, with one child run per executed stage.

DVC starts each stage as a separate process, so nothing is kept in memory between stages. The parent run is
found by its tags, under a file lock. Tracking is optional: if it fails, it prints one line and turns itself
off, and the stage continues.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import psutil
from filelock import FileLock

from steadyphi.tracking import mlflow_store as store
from steadyphi.tracking import published
from steadyphi.tracking.published import Published
from steadyphi.tracking.values import allowed_name, finite, flatten, mask

FLUSH_SECONDS = 2.0
SAMPLING_SECONDS = 5
BATCH = 100  # params per request; a request may hold ten times as many metrics

P = ParamSpec("P")


def _never_fails(
    method: Callable[Concatenate["StageRun", P], None],
) -> Callable[Concatenate["StageRun", P], None]:
    """Skip `method` if tracking is off. If `method` fails, turn tracking off and print one line to stderr."""

    @functools.wraps(method)
    def guarded(self: "StageRun", *args: P.args, **kwargs: P.kwargs) -> None:
        if not self._on:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self._on = False
            self._warn(error)

    return guarded


class StageRun:
    """The MLflow run of one stage. No method raises, even if the store fails."""

    def __init__(self) -> None:
        self._on = self._artifacts = True
        self._warned = False
        self._client: Any = None
        self._parent: Any = None
        self._id = ""
        self._monitor: Any = None
        self._buffer: list[Any] = []
        self._flushed = time.monotonic()

    @_never_fails
    def params(self, settings: Mapping[str, Any]) -> None:
        """Log nested settings as this stage's params."""
        self._log_params(self._id, settings)

    @_never_fails
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics; they are sent in batches every two seconds and at the end of the stage."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._buffer += [Metric(allowed_name(k), finite(v), now, step or 0) for k, v in values.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    @_never_fails
    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file, or a folder under its own name, to this stage's artifacts below `folder`."""
        self._store(lambda: self._client.log_artifact(self._id, str(path), folder or None))

    @_never_fails
    def text(self, text: str, name: str) -> None:
        """Log a text as an artifact of this stage; `name` may contain folders."""
        self._store(lambda: self._client.log_text(self._id, mask(text), name))

    @_never_fails
    def output(self, name: str, digest: str) -> None:
        """Tag the run with the digest of the stage's output `name`."""
        self._client.set_tag(self._id, f"output.{name}", digest)

    @_never_fails
    def summary(self, content: Published) -> None:
        """Write what the experiment's parent run shows, and mark it FINISHED.

        Only this method writes it, because a cached or skipped stage runs no code. Repeating a call
        changes nothing; a changed metric replaces the old value.
        """
        parent_id = self._parent.info.run_id
        published.write(self._client, self._parent, content, self._store)
        self._client.set_tag(parent_id, store.PUBLISHED, "true")
        self._parent = self._client.get_run(parent_id)
        store.settle(self._client, self._parent)

    def _store(self, log: Callable[[], None]) -> None:
        """Log an artifact. If the artifact store fails, print one line and continue without artifacts."""
        if not self._artifacts:
            return
        try:
            log()
        except Exception as error:
            self._artifacts = False
            reason = store.reason(error, 200)
            where = mask(self._client.get_run(self._id).info.artifact_uri)
            message = f"the artifact store {where} fails ({reason}); no more artifacts are logged"
            print(f"warning: MLflow: {message}", file=sys.stderr)

    def _log_params(self, run_id: str, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param
        from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

        # Params cannot be changed, and logging a second value is an error, so the first value is kept.
        known = self._client.get_run(run_id).data.params
        new = {allowed_name(key): value[:MAX_PARAM_VAL_LENGTH] for key, value in flatten(settings).items()}
        params = [Param(key, value) for key, value in new.items() if key not in known]
        for i in range(0, len(params), BATCH):
            self._client.log_batch(run_id, params=params[i : i + BATCH])

    def _flush(self) -> None:
        for i in range(0, len(self._buffer), 10 * BATCH):
            self._client.log_batch(self._id, metrics=self._buffer[i : i + 10 * BATCH])
        self._buffer.clear()
        self._flushed = time.monotonic()

    @_never_fails
    def _start(
        self, stage: str, experiment: str, digest: str, settings: Mapping[str, Any], title: str
    ) -> None:
        # DVC_STAGE may include the file: path/to/dvc.yaml:evaluate@base
        name = os.environ.get("DVC_STAGE", stage).rpartition(":")[2]
        tags = {
            "dvc.stage": name,
            "dvc.experiment": os.environ.get("DVC_EXP_NAME"),
            store.SOURCE: f"stages/{name.partition('@')[0]}.py",
            store.PROCESS: store.identity(psutil.Process()),
            **store.origin(),
        }
        # Without the lock, processes that start together would create the database and the parent run twice.
        with FileLock(store.lock(), timeout=store.LOCK_SECONDS):
            self._client = store.open_client()
            experiment_id = store.experiment_id(self._client, experiment)
            self._parent = store.parent_run(self._client, experiment_id, digest, title)
            store.reap(self._client, experiment_id)
            tags[store.PARENT] = self._parent.info.run_id
            set_tags = {key: value for key, value in tags.items() if value}
            named = f"{name} · {self._parent.info.run_name}"
            self._id = self._client.create_run(experiment_id, run_name=named, tags=set_tags).info.run_id
            self._log_params(self._parent.info.run_id, settings)  # now, because a later stage may fail
        self._start_monitor()

    def _start_monitor(self) -> None:
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in ("false", "0"):
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(self._id, SAMPLING_SECONDS, tracking_uri=store.tracking_uri())
        self._monitor.start()

    @_never_fails
    def _finish_logging(self) -> None:
        self._flush()
        if self._monitor:
            self._monitor.finish()
            # The monitor discards its last interval; a short stage has no other.
            if last := self._monitor.aggregate_metrics():
                self._monitor.publish_metrics(last)
                self._monitor.mlflow_logger.flush()

    @_never_fails
    def _terminate(self, status: str) -> None:
        self._client.set_terminated(self._id, status)
        if status != "FINISHED":  # no later stage will run; the next attempt sets it RUNNING again
            self._client.set_terminated(self._parent.info.run_id, status)
        elif store.PUBLISHED in self._parent.data.tags:
            # If the stage's output is unchanged, DVC skips publish, and the parent run is already complete.
            store.settle(self._client, self._parent)

    def _end(self, status: str) -> None:
        self._on = bool(self._id)  # a run that was created must be ended, even after a failure
        # The status is set first, so that an unreachable server costs only one time-out. An ended run still
        # accepts metrics.
        self._terminate(status)
        self._finish_logging()

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            print(
                f"warning: MLflow: {store.reason(error)}; the stage goes on without tracking", file=sys.stderr
            )
        self._warned = True


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

    `experiment` is the MLflow experiment's name, and `title` that of the row,
    unless DVC names it. `settings` are all settings, the params of the row, and
    `digest` is their digest, 12 hex digits.
    The run's final status is FINISHED; FAILED after an exception; KILLED after SIGTERM, Ctrl-C or `sys.exit`.
    """
    run = StageRun()
    run._start(stage, experiment, digest, settings, title)
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
