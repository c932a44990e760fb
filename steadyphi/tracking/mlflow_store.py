"""Where runs live and who owns them: the MLflow store, an experiment's parent run, the dead.

Everything here may raise whatever MLflow raises, and is called under the lock of `stage_run`.
"""

import contextlib
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil

from steadyphi.files import atomic_file

PARENT = "mlflow.parentRunId"
KEY = "steadyphi.experiment"
DIGEST = "steadyphi.digest"
PUBLISHED = "steadyphi.published"
PROCESS = "process"

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own values let a dead server hold up every stage for minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


# --- the processes that own runs ------------------------------------------------------------------


def identity(process: psutil.Process) -> str:
    """`host:pid:start time`; the start time, because pids get reused."""
    return f"{socket.gethostname()}:{process.pid}:{process.create_time():.2f}"


def _is_dead(owner: str) -> bool:
    """Whether the process lived on this host and does no more; of other hosts we know nothing."""
    if not owner.startswith(f"{socket.gethostname()}:"):
        return False
    _, pid, started = owner.rsplit(":", 2)
    try:
        process = psutil.Process(int(pid))
        # Boot time, and with it every start time, moves a little when the clock is adjusted.
        moved = abs(process.create_time() - float(started))
        return moved > 5 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _is_dvc(process: psutil.Process) -> bool:
    """`dvc …`, `python …/bin/dvc …` or `python -m dvc …`; not a shell in a folder named dvc."""
    try:
        return any(Path(word).name == "dvc" for word in process.cmdline()[:3])
    except psutil.Error:
        return False


def _owner() -> psutil.Process:
    """The process that lives as long as the experiment: the dvc above us, else whoever started us.

    Between two stages an experiment has no living stage, so only this tells a pause from an end.
    """
    me = psutil.Process()
    above = me.parents()
    caller = above[0] if above and above[0].pid > 1 else me  # pid 1 adopts orphans and never dies
    return next((process for process in above if _is_dvc(process)), caller)


# --- the store ------------------------------------------------------------------------------------


def root() -> Path:
    """The repository; DVC names the real one even where a stage runs in a temporary copy of it."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).absolute()


def tracking_uri() -> str:
    """Where runs are stored: `MLFLOW_TRACKING_URI`, else `mlflow.db` in the repository."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


def open_client() -> Any:
    """An MlflowClient on a store whose schema is complete; silent, and soon tired of a dead server."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    database = root() / "mlflow.db"
    if not os.environ.get("MLFLOW_TRACKING_URI") and not database.exists():
        # A migration that is killed half-way can never be taken up again: migrate aside, then rename.
        with atomic_file(database) as temporary:
            MlflowClient(f"sqlite:///{temporary}")
    return MlflowClient(tracking_uri())


def experiment_id(client: Any, name: str) -> str:
    """Find or create the MLflow experiment."""
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    # A server knows where its artifacts go. A database we open ourselves would take ./mlruns, which
    # in `dvc exp run --temp` is a folder that is about to be deleted.
    remote = tracking_uri().startswith(("http:", "https:", "databricks"))
    location = None if remote else (root() / "mlartifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def parent_run(client: Any, experiment_id: str, digest: str) -> Any:
    """Find or create the run of the whole experiment, and set it RUNNING in our name.

    It goes by key and settings digest together: MLflow's params cannot be changed, so the same
    DVC_EXP_NAME with other settings is another row. The key is compared here, not in the filter,
    since a name may hold quotes.
    """
    key = os.environ.get("DVC_EXP_NAME") or digest
    owner = identity(_owner())
    for run in client.search_runs([experiment_id], f"tags.`{DIGEST}` = '{digest}'"):
        if run.data.tags.get(KEY) == key:
            client.update_run(run.info.run_id, status="RUNNING")
            client.set_tag(run.info.run_id, PROCESS, owner)
            return run
    return client.create_run(experiment_id, run_name=key, tags={KEY: key, DIGEST: digest, PROCESS: owner})


def settle(client: Any, parent: Any) -> None:
    """End a parent that nobody works on: its row is complete if it was ever published."""
    status = "FINISHED" if PUBLISHED in parent.data.tags else "KILLED"
    client.set_terminated(parent.info.run_id, status)


def reap(client: Any, experiment_id: str) -> None:
    """End the runs whose process was killed, which MLflow would show as RUNNING for ever.

    A killed dvc leaves its stage running as an orphan, so a parent lives as long as any of its children.
    """
    running = client.search_runs([experiment_id], "attributes.status = 'RUNNING'")
    dead = [run for run in running if _is_dead(run.data.tags.get(PROCESS, ""))]
    tended = {run.data.tags.get(PARENT) for run in running if run not in dead}
    for run in dead:
        if run.info.run_id not in tended:
            settle(client, run)


def revision() -> str | None:
    """The git commit that the experiment started from, if there is one."""
    if revision := os.environ.get("DVC_EXP_BASELINE_REV"):
        return revision
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "rev-parse", "--verify", "HEAD"]
        done = subprocess.run(command, cwd=root(), capture_output=True, text=True, timeout=10)
        return done.stdout.strip() or None
    return None
