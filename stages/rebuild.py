"""`python -m stages.publish --all` and `--pending`: rows in MLflow without running a stage."""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stages import common, publish
from steadyphi.errors import SteadyPhiError
from steadyphi.progress import Progress
from steadyphi.results import stored
from steadyphi.revisions import Revision, copy_files, revisions
from steadyphi.settings.files import load_published
from steadyphi.tracking import pending
from steadyphi.tracking.sending import row as row_of
from steadyphi.tracking.stage_run import row_run

# What a row is made of. Of the data sets, only the digest is shown, so they may be missing.
NEEDED = ("metrics", "artifacts/report", "artifacts/config/publish.yaml")
OPTIONAL = ("artifacts/data/train.parquet", "artifacts/data/items.parquet")


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
    done, skipped = dict[tuple[str | None, str], bool](), []
    known = list(revisions())
    progress = Progress("publish", len(known), "revisions")
    for revision in known:
        progress.add(1)
        with tempfile.TemporaryDirectory() as name:
            try:
                copy_files(revision.commit, Path(name), NEEDED, OPTIONAL)
                with contextlib.chdir(name):
                    write(revision, done)
            except (SteadyPhiError, OSError, KeyError, ValueError) as error:
                skipped.append(f"{revision.label}: {' '.join(str(error).split())}")
    progress.close()
    for line in skipped:
        print(f"left out: {line}")
    print(f"rows: {sum(done.values())}")
    if missing := len(done) - sum(done.values()):
        raise SteadyPhiError(f"MLflow: rows that were not sent: {missing}; the warnings above say why")


def write(revision: Revision, done: dict[tuple[str | None, str], bool]) -> None:
    """Write the row of the revision whose files are in the current folder, unless it is among `done`.

    done: by the name and the digest that identify a row, whether MLflow has it.
    """
    settings = load_published(common.CONFIG / "publish.yaml")
    key = (revision.name, settings.digest)
    if key in done:
        return
    choices = settings.settings
    title = common.title(choices)
    tags = {"git.revision": revision.commit, "mlflow.source.git.commit": revision.commit}
    content = publish.row(settings, stored.read_experiment(common.REPORT / "report.json"))
    parent = row_of(settings.experiment, settings.digest, choices, title, revision.name)
    with row_run(parent, tags, revision.time) as run:
        run.summary(content)
        done[key] = run.complete
