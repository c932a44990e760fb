"""`python -m stages.publish --all` and `--pending`: rows in MLflow without running a stage."""

import argparse
import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stages import common, publish
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object
from steadyphi.progress import Progress
from steadyphi.results.result import SCHEMA, Experiment
from steadyphi.settings.schema import Publish
from steadyphi.tracking import pending
from steadyphi.tracking.sending import row as row_of
from steadyphi.tracking.stage_run import row_run

# What a row is made of. Of the data sets, only the digest is shown, so they may be missing.
NEEDED = ("metrics", "artifacts/report", "artifacts/config/publish.yaml")
OPTIONAL = ("artifacts/data/train.parquet", "artifacts/data/items.parquet")


@dataclass(frozen=True)
class Revision:
    """A commit with results. name: that of the DVC experiment, None for a commit of a branch. time: in ms."""

    commit: str
    name: str | None
    time: int


def command(arguments: Sequence[str]) -> None:
    """Run the command line `--all` or `--pending`."""
    parser = argparse.ArgumentParser(prog="python -m stages.publish", description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--all", action="store_true", help="write the rows of all experiments and commits")
    chosen.add_argument("--pending", action="store_true", help="send what MLflow did not take")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DVC_ROOT", str(Path.cwd()))
    with common.errors_in_a_line("publish"):
        if options.pending:
            send_pending()
        else:
            publish_all()


def send_pending() -> None:
    """Send what MLflow did not take, and print it. Raises SteadyPhiError if something is left."""
    sent, failed = pending.send_all()
    for what in sent:
        print(f"sent: {what}")
    for problem in failed:
        print(f"not sent: {problem}")
    if failed:
        raise SteadyPhiError(f"{pending.folder()}: records not sent: {len(failed)}; the lines above say why")
    if left := len(pending.waiting()):
        raise SteadyPhiError(f"{pending.folder()}: {left} are left, of stages that run now; try again later")


def publish_all() -> None:
    """Write the row of every experiment and commit whose results git and DVC have, and print what is missing.

    Of commits with the same settings, the newest one counts. A row that was published already stays.
    """
    from dvc.api import DVCFileSystem

    root, done, skipped = Path.cwd(), dict[tuple[str | None, str], bool](), []
    known = list(revisions())
    progress = Progress("publish", len(known), "revisions")
    for revision in known:
        progress.add(1)
        with tempfile.TemporaryDirectory() as name:
            try:
                files = DVCFileSystem(str(root), rev=revision.commit)
                fetch(files, Path(name))
                with contextlib.chdir(name):
                    write(revision, done)
            except (SteadyPhiError, OSError, KeyError, ValueError) as error:
                skipped.append(f"{revision.name or revision.commit[:7]}: {' '.join(str(error).split())}")
    progress.close()
    for line in skipped:
        print(f"left out: {line}")
    print(f"rows: {sum(done.values())}")
    if missing := len(done) - sum(done.values()):
        raise SteadyPhiError(f"MLflow: rows that were not sent: {missing}; the warnings above say why")


def revisions() -> Iterator[Revision]:
    """Yield the experiments, and the commits that changed results, each kind with the newest first."""
    names = _git("for-each-ref", "--sort=-creatordate", "--format=%(refname) %(objectname)", "refs/exps")
    for line in names.splitlines():
        ref, commit = line.split()
        parts = ref.split("/")  # refs/exps/ab/cdef.../name; DVC's own references are shorter
        if len(parts) == 5 and len(parts[2] + parts[3]) == 40:
            yield Revision(commit, parts[4], _time(commit))
    for commit in _git("rev-list", "HEAD", "--", "metrics/summary.json", "dvc.lock").split():
        yield Revision(commit, None, _time(commit))


def _time(commit: str) -> int:
    return 1000 * int(_git("show", "-s", "--format=%ct", commit))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SteadyPhiError(f"git {arguments[0]}: {done.stderr.strip()}; run it in the project")
    return done.stdout


def fetch(files: Any, target: Path) -> None:
    """Copy what a row is made of from a revision, out of git, DVC's cache or its remote."""
    for name in (*NEEDED, *OPTIONAL):
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get(name, str(place), recursive=files.isdir(name))
        except Exception as error:  # of DVC, of its remote or of fsspec
            if name in NEEDED:
                raise SteadyPhiError(f"{name}: neither git nor DVC's cache or remote has it") from error


def write(revision: Revision, done: dict[tuple[str | None, str], bool]) -> None:
    """Write the row of the revision whose files are in the current folder, unless it is among `done`.

    done: by the name and the digest that identify a row, whether MLflow has it.
    """
    settings = read_settings(common.CONFIG / "publish.yaml")
    key = (revision.name, settings.digest)
    if key in done:
        return
    choices = settings.settings
    title = common.title(choices)
    tags = {"git.revision": revision.commit, "mlflow.source.git.commit": revision.commit}
    content = publish.row(settings, read_experiment(common.REPORT / "report.json"))
    parent = row_of(settings.experiment, settings.digest, choices, title, revision.name)
    with row_run(parent, tags, revision.time) as run:
        run.summary(content)
        done[key] = run.complete


def read_settings(path: Path) -> Publish:
    """Return the settings of an experiment; an older version had no registry."""
    known = read_object(path, "settings of publish")
    try:
        given = {key: known[key] for key in ("experiment", "digest", "settings")}
        return Publish(**given, register=None, alias="champion", copy_weights=False)
    except (KeyError, ValidationError) as error:
        raise SteadyPhiError(f"{path}: is not as compose writes it: {error}") from None


def read_experiment(path: Path) -> Experiment:
    """Return the results that a report shows. Raises SteadyPhiError if they are of another version."""
    values = read_object(path, "a report", finite=False)
    if (schema := values.pop("schema", 1)) != SCHEMA:
        raise SteadyPhiError(f"{path}: has schema {schema}, this version reads {SCHEMA}")
    try:
        return TypeAdapter(Experiment).validate_python(values)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise SteadyPhiError(f"{path}: {where}: {error.errors()[0]['msg']}") from None
