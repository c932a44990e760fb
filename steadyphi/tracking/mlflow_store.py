"""The MLflow store, the parent run of an experiment, and the cleanup of runs whose process has ended.

All functions here may raise MLflow's exceptions. They are called under the lock of `stage_run`.
"""

import contextlib
import getpass
import os
import re
import socket
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from steadyphi.errors import mask
from steadyphi.files import atomic_file

SQLITE, DATABASE, ARTIFACTS = "sqlite:///", "mlflow.db", "mlartifacts"
PARENT = "mlflow.parentRunId"
STAGE = "dvc.stage"
KEY = "steadyphi.experiment"
DIGEST = "steadyphi.digest"
PUBLISHED = "steadyphi.published"
RECORD = "steadyphi.record"  # of a stage run: its name in the records of `pending`
PROCESS = "process"
SOURCE = "mlflow.source.name"
LOCK_SECONDS = 120  # a new database takes seconds to migrate, and other processes may be waiting

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # With MLflow's defaults, an unreachable server delays every stage by minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


# --- the processes that own runs ------------------------------------------------------------------


def identity(process: psutil.Process) -> str:
    """Return `host:pid:start time`; the start time is included because pids are reused."""
    return f"{socket.gethostname()}:{process.pid}:{process.create_time():.2f}"


def _is_dead(owner: str) -> bool:
    """Return whether the process ran on this host and has ended; False for processes of other hosts."""
    if not owner.startswith(f"{socket.gethostname()}:"):
        return False
    _, pid, started = owner.rsplit(":", 2)
    try:
        process = psutil.Process(int(pid))
        # The boot time, and with it every start time, changes slightly when the clock is adjusted.
        moved = abs(process.create_time() - float(started))
        return moved > 5 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _is_dvc(process: psutil.Process) -> bool:
    """Return whether the command is `dvc …`, `python …/bin/dvc …` or `python -m dvc …`.

    A shell in a folder named dvc does not count.
    """
    try:
        return any(Path(word).name == "dvc" for word in process.cmdline()[:3])
    except psutil.Error:
        return False


def _owner() -> psutil.Process:
    """Return the process that lives as long as the experiment: an ancestor dvc, else the parent process.

    Between two stages no process of a stage is running, so only this process shows whether the experiment
    has ended.
    """
    me = psutil.Process()
    above = me.parents()
    caller = above[0] if above and above[0].pid > 1 else me  # pid 1 adopts orphans and never ends
    return next((process for process in above if _is_dvc(process)), caller)


# --- the store ------------------------------------------------------------------------------------


def root() -> Path:
    """Return the repository root. `DVC_ROOT` is the original even if a stage runs in a temporary copy."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).absolute()


def tracking_uri() -> str:
    """Return the URI of the run store: `MLFLOW_TRACKING_URI`, else `mlflow.db` in the repository.

    A relative path of a SQLite file is relative to the repository, also in a temporary copy of it.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or SQLITE + DATABASE
    if not given.startswith(SQLITE):
        return given
    path = root() / given.removeprefix(SQLITE)
    # SQLAlchemy parses the text after a question mark as options. If the root contains one, the path is
    # relative to the working directory.
    return SQLITE + (os.path.relpath(path) if "?" in str(root()) else str(path))


def _own_database() -> Path | None:
    """Return the database of the run store if it is a file in the repository, else None."""
    uri = tracking_uri()
    path = Path(uri.removeprefix(SQLITE)).resolve()
    within = uri.startswith(SQLITE) and path.is_relative_to(root().resolve())
    return path if within and "?" not in path.name else None


def reason(error: Exception, most: int = 300) -> str:
    """Return in one line why the store failed, and what to do if that is known.

    most: the longest text of MLflow, in characters.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    where = mask(tracking_uri())
    if refused := re.search(r"failed with error code (401|403)\b", text):
        problem = f"{where} refuses access ({refused[1]})"
        return (
            f"{problem}; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if "out-of-date database schema" in text:  # MLflow says so of a newer schema too
        upgrade = f"python -m mlflow db upgrade '{where}'"
        problem = f"{where} was written by another version of MLflow; back it up and run {upgrade}"
        return f"{problem}, or move it away if a newer version wrote it"
    return mask(text)[:most]


def _follow_repository(database: Path) -> None:
    """Update the artifact locations in the repository's own database after the repository was moved."""
    here = (root() / ARTIFACTS).as_uri()
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        query = "select distinct artifact_location from experiments where artifact_location like ?"
        for (location,) in connection.execute(query, (f"file://%/{ARTIFACTS}",)).fetchall():
            if location == here:
                continue
            connection.execute(
                "update experiments set artifact_location = ? where artifact_location = ?", (here, location)
            )
            connection.execute(
                "update runs set artifact_uri = ? || substr(artifact_uri, ?) "
                "where substr(artifact_uri, 1, ?) = ?",
                (here, len(location) + 1, len(location) + 1, f"{location}/"),
            )


def lock() -> Path:
    """Return the path of the lock under which the functions of this module are called."""
    cache = root() / ".cache"
    cache.mkdir(parents=True, exist_ok=True)
    return cache / "mlflow.lock"


def open_client() -> Any:
    """Return a silent MlflowClient with short time-outs, on a store whose schema is complete."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    if database := _own_database():
        if not database.exists():
            # An interrupted migration cannot be resumed, so migrate a temporary file and then rename it.
            migrated = root() / ".cache" / DATABASE
            with atomic_file(migrated) as temporary:
                MlflowClient(SQLITE + os.path.relpath(temporary))
            migrated.replace(database)
        _follow_repository(database)
    return MlflowClient(tracking_uri())


def experiment_id(client: Any, name: str) -> str:
    """Find or create the MLflow experiment, and return its id."""
    if experiment := client.get_experiment_by_name(name):
        return str(experiment.experiment_id)
    # A server has its own artifact location. The default of a local database is ./mlruns, which
    # `dvc exp run --temp` deletes with its temporary folder.
    remote = tracking_uri().startswith(("http:", "https:", "databricks"))
    location = None if remote else (root() / ARTIFACTS).as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def row_tags(digest: str, name: str | None) -> dict[str, str]:
    """Return the tags that identify the parent run of an experiment.

    name: what DVC calls the experiment, if it has a name.
    """
    return {KEY: name or digest, DIGEST: digest, SOURCE: "dvc.yaml"}


def owner_tag() -> dict[str, str]:
    """Return the tag that names the process which lives as long as the experiment."""
    return {PROCESS: identity(_owner())}


def find_parent(client: Any, experiment_id: str, tags: Mapping[str, str]) -> Any:
    """Return the parent run of the experiment with these `row_tags`, or None.

    The run is identified by its key and its settings digest together. MLflow's params cannot be changed, so
    the same DVC_EXP_NAME with different settings is a different run. The key is compared here, not in the
    filter, because a name may contain quotes.
    """
    runs = client.search_runs([experiment_id], f"tags.`{DIGEST}` = '{tags[DIGEST]}'")
    return next((run for run in runs if run.data.tags.get(KEY) == tags[KEY]), None)


def restart(client: Any, parent: Any, name: str, tags: Mapping[str, str]) -> Any:
    """Set a parent run RUNNING, with this name and these tags, and return it."""
    client.update_run(parent.info.run_id, status="RUNNING", name=name)
    for tag, value in tags.items():
        if parent.data.tags.get(tag) != value:
            client.set_tag(parent.info.run_id, tag, value)
    return client.get_run(parent.info.run_id)


def has_later_run(client: Any, parent: Any, time: int, stage: str | None = None) -> bool:
    """Return whether a stage of the experiment, or only `stage`, started after `time`, in ms."""
    query = f"tags.`{PARENT}` = '{parent.info.run_id}' and attributes.start_time > {time}"
    runs = client.search_runs([parent.info.experiment_id], query)
    return any(stage is None or run.data.tags.get(STAGE) == stage for run in runs)


def settle(client: Any, parent: Any, time: int | None = None) -> None:
    """End a parent run that no process works on: FINISHED if it was ever published, else KILLED.

    time: of the end, in ms; by default now.
    """
    status = "FINISHED" if PUBLISHED in parent.data.tags else "KILLED"
    end = None if time is None else max(time, parent.info.start_time)
    client.set_terminated(parent.info.run_id, status, end)


def reap(client: Any, experiment_id: str) -> None:
    """End the runs whose process was killed; otherwise MLflow would show them as RUNNING forever.

    A killed dvc leaves its stage running as an orphan, so a parent run stays open while any child is running.
    """
    running = client.search_runs([experiment_id], "attributes.status = 'RUNNING'")
    ended = [run for run in running if _is_dead(run.data.tags.get(PROCESS, ""))]
    open_parents = {run.data.tags.get(PARENT) for run in running if run not in ended}
    for run in ended:
        if run.info.run_id not in open_parents:
            settle(client, run)


def origin() -> dict[str, str]:
    """Return tags for who ran what: the user, the commit, and whether files differ from the commit.

    Settings and results do not count as differences, because the run records them itself.
    """
    tags = {"mlflow.source.type": "PROJECT"}
    with contextlib.suppress(OSError, KeyError):  # a container may run with a user id that has no name
        tags["mlflow.user"] = getpass.getuser()
    if commit := revision():
        tags |= {"git.revision": commit, "mlflow.source.git.commit": commit}
        recorded = [f":(top,exclude){path}" for path in ("params.yaml", "dvc.lock", "metrics")]
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *recorded)
        if changed is not None:
            tags["git.dirty"] = "true" if changed else "false"
    return tags


def revision() -> str | None:
    """Return the git commit that the experiment started from, if there is one."""
    if revision := os.environ.get("DVC_EXP_BASELINE_REV"):
        return revision
    return _git("rev-parse", "--verify", "HEAD") or None


def _git(*arguments: str) -> str | None:
    """Return the output of git where the stage runs, maybe a copy of the repository; None if it fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10)
        return None if done.returncode else done.stdout.strip()
    return None
