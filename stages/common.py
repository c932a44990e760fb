"""Code shared by all stages: paths, a lock for each stage, and errors in one line."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from steadyphi.errors import SteadyPhiError, printable, replace_unencodable
from steadyphi.settings.files import load_settings
from steadyphi.settings.schema import Publish
from steadyphi.tracking.stage_run import StageRun, stage_run, unrecorded

CONFIG = Path("artifacts/config")
WEIGHTS = Path("artifacts/weights")
MODEL = Path("artifacts/model")
DATA = Path("artifacts/data")
SCORES = Path("artifacts/scores")
TUNED = Path("artifacts/tuned")
REPORT = Path("artifacts/report")
GATE = Path("artifacts/gate.json")
METRICS = Path("metrics")

T = TypeVar("T")


def settings(stage: str, cls: type[T]) -> T:
    """Read the settings that `compose` resolved for a stage."""
    return load_settings(CONFIG / f"{stage}.yaml", cls)


def root() -> Path:
    """Return the repository root, even if DVC runs a stage in a temporary copy of the repository."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def cache(stage: str) -> Path:
    """Return the folder for data that a stage keeps between runs, such as a partial download."""
    folder = root() / ".cache" / stage
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def errors_in_a_line(name: str) -> Iterator[None]:
    """Exit with a one-line message if a stage fails because of its input or is stopped."""
    replace_unencodable()
    try:
        yield
    except SteadyPhiError as error:
        sys.exit(f"error: {error}")
    except OSError as error:  # missing file, no permission or no disk space
        sys.exit(f"error: {printable(str(error.filename or name))}: {error.strerror or error}")
    except KeyboardInterrupt:
        print(f"stopped: {name}; dvc repro starts it again", file=sys.stderr)
        sys.exit(130)


@contextlib.contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Run a stage under a lock, and report its errors in one line.

    A killed `dvc` leaves its stage running. The lock prevents a second process from writing to the same
    outputs.
    """
    lock = Path(".cache") / "locks" / f"{name}.lock"
    with errors_in_a_line(name):
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0):
                yield
        except Timeout:
            sys.exit(
                f"error: {lock}: another process still runs the stage {name} here; wait for it or stop it"
            )


def recorded(name: str) -> contextlib.AbstractContextManager[StageRun]:
    """Return the MLflow run of a stage, as a context. The settings that `compose` wrote determine its row."""
    published = settings("publish", Publish)
    chosen = published.settings
    return stage_run(
        name, experiment=published.experiment, digest=published.digest, settings=chosen, title=title(chosen)
    )


def title(choices: Mapping[str, Any]) -> str:
    """Return what the row of an experiment is called if DVC has no name for it."""
    return " · ".join(str(choices[key]) for key in ("model", "method", "data"))


def run_stage(name: str, body: Callable[[StageRun], None]) -> None:
    """Run a stage under its lock and record it in MLflow; under torchrun only the first process records."""
    if rank := int(os.environ.get("RANK", 0)):
        with one_at_a_time(f"{name}.{rank}"):
            body(unrecorded())
        return
    with one_at_a_time(name), recorded(name) as run:
        body(run)
