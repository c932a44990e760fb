"""Sequences of commands that people really run, with `compose`, the first stage, through DVC."""

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project, make_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pipeline has never run."""
    return make_project(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture
def project(fresh: Project) -> Iterator[Project]:
    yield fresh
    fresh.run("git", "checkout", "-q", "-f", "main")
    fresh.run("git", "clean", "-fdqx", "-e", ".dvc")


def error(done: "subprocess.CompletedProcess[str]") -> str:
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_a_data_file_that_git_does_not_have_in_a_temporary_copy(project: Project) -> None:
    file = project.folder / "data" / "mine.jsonl"
    file.parent.mkdir()
    file.write_text('{"instruction": "What follows 0?", "response": "1"}\n')
    run = ("dvc", "exp", "run", "--temp", "-S", "data=jsonl", "-S")
    refused = project.run(*run, "data_file=data/mine.jsonl", "compose", check=False)
    assert refused.returncode != 0
    problem = "git does not have data/mine.jsonl, so this temporary copy lacks it"
    remedy = "git add or dvc add it, or give an absolute path"
    assert error(refused) == f"error: params.yaml: data_file: {problem}; {remedy}"
    project.run(*run, f"data_file={file}", "compose")
    project.run("git", "add", "data/mine.jsonl")
    project.run(*run, "data_file=data/mine.jsonl", "compose")


def test_a_relative_database_in_a_temporary_copy(project: Project) -> None:
    command = ("dvc", "exp", "run", "--temp", "-S", "seed=3", "compose")
    project.run(*command, MLFLOW_TRACKING_URI="sqlite:///rel.db")
    with sqlite3.connect(project.folder / "rel.db") as connection:
        query = "select value from params where key = 'seed'"
        assert set(connection.execute(query).fetchall()) == {("3",)}
    connection.close()
    assert not (project.folder / "mlflow.db").exists()


def test_a_project_in_a_folder_of_a_larger_repository(tmp_path: Path) -> None:
    project = make_project(tmp_path / "repository" / "project")
    shutil.rmtree(project.folder / ".git")
    project.run("git", "init", "-q", "-b", "main", "..")
    project.commit()
    assert project.repro("compose") == ["compose"]
    project.run("dvc", "exp", "run", "--temp", "-n", "third", "-S", "seed=3", "compose")
    rows = {
        run.data.tags["steadyphi.experiment"]: run.data.params["seed"] for run in project.runs(parents=True)
    }
    assert rows.pop("third") == "3" and list(rows.values()) == ["0"]


def test_after_a_killed_experiment_git_restores_the_committed_settings(project: Project) -> None:
    """A killed `dvc exp run` leaves its settings in git's index, so `git checkout .` brings them back."""
    (project.folder / "dvc.yaml").write_text(
        "stages:\n"
        "  first: {cmd: echo 1 > first, outs: [first], params: [seed]}\n"
        "  second: {cmd: echo begun && sleep 60, deps: [first]}\n"
    )
    project.run("git", "add", "dvc.yaml")
    command = ["dvc", "exp", "run", "-S", "seed=77"]
    dvc = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert dvc.stdout and any(line.startswith("begun") for line in dvc.stdout)
    dvc.send_signal(signal.SIGTERM)
    dvc.wait()
    os.killpg(dvc.pid, signal.SIGKILL)  # the stage, which DVC leaves running
    project.run("git", "checkout", "-q", ".")
    assert "seed: 77" in (project.folder / "params.yaml").read_text()
    project.run("git", "checkout", "-q", "-f", "main")  # as docs/settings.md says
    assert "seed: 0" in (project.folder / "params.yaml").read_text()
    assert project.run("git", "status", "--porcelain", "--untracked-files=no").stdout == ""


def test_an_edit_to_a_file_of_a_folder_reruns_prepare(project: Project, tmp_path: Path) -> None:
    """A folder is one dependency, so that DVC sees its files change, come and go."""
    folder = tmp_path / "rows"
    folder.mkdir()
    row = '{{"instruction": "Say {0}.", "response": "{0}"}}\n'
    for part in ("a", "b"):
        (folder / f"{part}.jsonl").write_text("".join(row.format(f"{part} {n}") for n in range(40)))
    project.params(data="jsonl", data_file=str(folder))
    assert project.repro("prepare")[-1] == "prepare"
    assert project.repro("prepare") == []
    with (folder / "b.jsonl").open("a") as file:
        file.write(row.format("more"))
    assert project.repro("prepare") == ["prepare"]
    (folder / "c.jsonl").write_text(row.format("another"))
    assert project.repro("prepare") == ["prepare"]
