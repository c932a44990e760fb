"""A copy of the project in a repository of its own, with settings small enough for a test."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

from tests.conftest import ROOT, make_hub_folder
from tests.pipeline.loopback_hub import serve

SMALL: dict[str, Any] = {
    "method": "full",
    "suite": "formats",
    "evaluate": {"draws": 100},
    "prepare": {
        "examples": 40,
        "valid": 16,
        "items": 18,
        "formats": ["phi2", "qa"],
        "styles": ["phi2", "qa"],
        "grammar": 0.5,
        "renderings": 2,
    },
    "finetune": {"lr": None, "epochs": 1},
}


@dataclass
class Project:
    """A checkout of the project and what can be asked of it."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout, its output captured."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env | env, capture_output=True, text=True, timeout=280
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        return done

    def repro(self, *arguments: str) -> list[str]:
        """Run `dvc repro` and return the stages that ran."""
        return stages_run(self.run("dvc", "repro", *arguments).stdout)

    def params(self, **changes: Any) -> None:
        """Change keys of params.yaml."""
        path = self.folder / "params.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))

    def commit(self) -> None:
        """Commit all there is."""
        self.run("git", "add", "-A")
        self.run("git", "-c", "commit.gpgsign=false", "commit", "-q", "--allow-empty", "-m", "state")

    def lock(self) -> dict[str, Any]:
        """Return the stages of dvc.lock."""
        return dict(yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"])

    def runs(self, *, parents: bool) -> list[Any]:
        """Return the MLflow runs: one a DVC experiment, or one an executed stage; newest first."""
        client = mlflow.MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        experiment = client.get_experiment_by_name("steadyphi")
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        return [r for r in runs if ("mlflow.parentRunId" not in r.data.tags) == parents]


def stages_run(output: str) -> list[str]:
    """Return the stages whose command DVC says it ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def make_project(folder: Path, **params: Any) -> Project:
    """Copy the working tree's files into `folder` and make it a repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name != "dvc.lock" and not name.startswith("metrics/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "GIT_", "MLFLOW_TRACKING"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.org",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",  # their own test is tracking's
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    project = Project(folder, env)
    project.params(**(SMALL | params))
    project.run("git", "init", "-q", "-b", "main")
    project.commit()
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pipeline has run once, and is committed."""
    made = make_project(tmp_path_factory.mktemp("project") / "with a space")
    assert sorted(made.repro()) == sorted(STAGES)
    made.commit()
    return made


@pytest.fixture
def project(finished: Project) -> Iterator[Project]:
    """The finished project, afterwards put back as it was."""
    yield finished
    finished.run("git", "reset", "-q", "--hard")
    finished.run("git", "clean", "-fdq")
    finished.run("dvc", "checkout", "-q", "--force")


STAGES = (
    "compose",
    "fetch",
    "convert",
    "prepare",
    "finetune",
    "evaluate@base",
    "evaluate@tuned",
    "publish",
    "gate",
)


@pytest.fixture
def hub(project: Project, tmp_path: Path) -> Iterator[None]:
    """Serve a small random Phi as microsoft/phi-2 and microsoft/phi-1_5 at their pinned commits."""
    make_hub_folder(tmp_path / "hub")
    pins = [
        (conf["source"], conf["revision"])
        for conf in (
            yaml.safe_load((ROOT / f"conf/model/{m}.yaml").read_text()) for m in ("phi-2", "phi-1.5")
        )
    ]
    before = dict(project.env)
    with serve(tmp_path / "hub", *pins) as endpoint:
        project.env |= {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        project.env |= {"STEADYPHI_SKIP_MEMORY_CHECK": "1"}  # which takes them for what they are called
        yield
    project.env = before
