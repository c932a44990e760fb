"""The commits and experiments with results, in a repository that git made."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.revisions import Revision, copy_files, revisions

Commit = Callable[[str, int], str]
AS_TESTER = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]


def git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], text=True).strip()


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commit:
    """A function that commits a file of the repository in the current folder at a time in seconds."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    git("init", "-q", "-b", "main")

    def make(file: str, time: int) -> str:
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"@{time} +0000")
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(time))
        git("add", "-A")
        git(*AS_TESTER, "commit", "-q", "-m", file)
        return git("rev-parse", "HEAD")

    return make


def test_experiments_come_first_then_the_commits_that_changed_results(commit: Commit) -> None:
    first = commit("metrics/summary.json", 1_000_000_000)
    commit("README.md", 1_000_000_100)
    second = commit("dvc.lock", 1_000_000_200)
    tried = commit("metrics/summary.json", 1_000_000_300)
    git("update-ref", f"refs/exps/{second[:2]}/{second[2:]}/wobbly-lynx", tried)
    git("update-ref", "refs/exps/exec/EXEC_HEAD", first)  # a reference of DVC's that names no experiment
    git("reset", "-q", "--hard", second)
    listed = list(revisions())
    assert listed == [
        Revision(tried, "wobbly-lynx", 1_000_000_300_000),
        Revision(second, None, 1_000_000_200_000),
        Revision(first, None, 1_000_000_000_000),
    ]
    assert [revision.label for revision in listed] == ["wobbly-lynx", second[:7], first[:7]]


def test_files_are_those_of_the_commit(commit: Commit, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = commit("metrics/summary.json", 1_000_000_000)
    commit("metrics/summary.json", 1_000_000_100)
    target = tmp_path_factory.mktemp("target")
    Path(".dvc").mkdir()
    copy_files(first, target, ["metrics"], ["artifacts/data/train.parquet"])
    assert (target / "metrics" / "summary.json").read_text() == "1000000000"
    assert not (target / "artifacts" / "data" / "train.parquet").exists()
    with pytest.raises(SteadyPhiError, match="artifacts/report: neither git nor DVC's cache or remote"):
        copy_files(first, target, ["artifacts/report"], [])


def test_outside_a_repository_the_error_says_where_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SteadyPhiError, match=r"not a git repository.*run it in the project"):
        list(revisions())
