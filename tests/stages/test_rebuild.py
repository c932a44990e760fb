"""`python -m stages.publish --all`: rows from what git and DVC have, into an empty store."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from steadyphi.files import write_json
from steadyphi.results.stored import to_json
from steadyphi.settings.compose import compose, read_params
from steadyphi.settings.files import stage_files
from tests.conftest import ROOT
from tests.report.example import experiment

pytestmark = pytest.mark.slow


class Repository:
    """A repository with the results of pipelines that never ran: what publish reads of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        names = {
            f"GIT_{who}_{what}": "t@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "GIT_", "MLFLOW_"))}
        self.env = {**kept, **names, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}
        self.metrics()
        self.run("git", "init", "-q", "-b", "main")
        self.run(sys.executable, "-m", "dvc", "init", "-q")

    def metrics(self) -> None:
        """Copy the committed metrics: those of the working tree are incomplete while a pipeline runs."""
        archive = subprocess.check_output(["git", "-C", ROOT, "archive", "HEAD", "metrics"])
        subprocess.run(["tar", "-x", "-C", self.folder], input=archive, check=True)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def commit(self, seed: int, spread: float) -> str:
        """Commit the results of an experiment, and return the commit."""
        params = {**read_params(ROOT / "params.yaml"), "seed": seed}
        text = stage_files(compose(params, ROOT / "conf"))["publish"]
        config, report = (self.folder / "artifacts" / name for name in ("config", "report"))
        for place in (config, report):
            place.mkdir(parents=True, exist_ok=True)
        (config / "publish.yaml").write_text(text)
        write_json(report / "report.json", to_json(experiment()))
        (report / "formats.png").write_bytes(b"picture")
        summary = self.folder / "metrics" / "summary.json"
        write_json(summary, json.loads(summary.read_text()) | {"spread_unseen_tuned": spread})
        self.run(
            sys.executable, "-m", "dvc", "add", "-q", "artifacts/config/publish.yaml", "artifacts/report"
        )
        self.run("git", "add", "-A")
        self.run("git", "-c", "commit.gpgsign=false", "commit", "-q", "-m", f"seed {seed}")
        return self.run("git", "rev-parse", "HEAD").strip()

    def rows(self) -> dict[str, Any]:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        (steady,) = [e for e in client.search_experiments() if e.name == "steadyphi"]
        return {run.data.tags["git.revision"]: run for run in client.search_runs([steady.experiment_id])}


def test_all_rows_come_back(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "a project")
    older = repository.commit(seed=0, spread=0.5)
    newer = repository.commit(seed=0, spread=0.25)  # the code changed, the settings did not
    tried = repository.commit(seed=1, spread=0.125)
    # As DVC keeps an experiment: a commit that no branch has.
    repository.run("git", "update-ref", f"refs/exps/{newer[:2]}/{newer[2:]}/wobbly-lynx", tried)
    repository.run("git", "reset", "-q", "--hard", newer)
    lost = repository.commit(seed=2, spread=1.0)
    (config,) = yaml.safe_load((repository.folder / "artifacts/config/publish.yaml.dvc").read_text())["outs"]
    (repository.folder / ".dvc/cache/files/md5" / config["md5"][:2] / config["md5"][2:]).unlink()

    printed = repository.run(sys.executable, "-m", "stages.publish", "--all")
    missing = f"{lost[:7]}: artifacts/config/publish.yaml: neither git nor DVC's cache or remote has it"
    assert f"left out: {missing}" in printed.splitlines() and "rows: 2" in printed.splitlines()
    rows = repository.rows()
    assert set(rows) == {newer, tried} and older not in rows
    assert rows[tried].info.run_name == "wobbly-lynx"
    assert rows[newer].info.run_name == "phi-tiny · full · textbook"
    shown = {commit: run.data.metrics["spread/tested"] for commit, run in rows.items()}
    assert shown == {newer: 0.25, tried: 0.125}
    assert {run.info.status for run in rows.values()} == {"FINISHED"}
    assert rows[tried].data.params["seed"] == "1"
    assert len(list((repository.folder / "mlartifacts").rglob("formats.png"))) == 2
    assert all("steadier" in run.data.tags["mlflow.note.content"] for run in rows.values())
    times = {run.data.tags["git.revision"]: run.info.end_time - run.info.start_time for run in rows.values()}
    assert times == {newer: 0, tried: 0}

    newest = repository.commit(seed=0, spread=0.75)  # its row is there, and stays
    repository.run(sys.executable, "-m", "stages.publish", "--all")
    assert repository.rows()[newer].to_dictionary() == rows[newer].to_dictionary()
    assert newest not in repository.rows()

    repository.env["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"  # nothing listens there
    command = [sys.executable, "-m", "stages.publish", "--all"]
    done = subprocess.run(
        command, cwd=repository.folder, env=repository.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "rows: 0" in done.stdout.splitlines()
    assert "rows that were not sent: 2" in done.stderr
