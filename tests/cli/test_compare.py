"""steadyphi compare: where the scores of a revision come from, and what is printed.

The scores come from real git and DVC, and stages of one line.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steadyphi.cli.compare import _folder, render
from steadyphi.errors import SteadyPhiError
from steadyphi.stats.catalogue import CATALOGUE
from tests.report.example import experiment

# The result of each run is different, as it is where another CPU rounds differently.
STAGE = 'mkdir -p "$1" && cat source /proc/sys/kernel/random/uuid > "$1/n"\n'
DVC_YAML = """
stages:
  evaluate:
    foreach: {base: 1, tuned: 2}
    do:
      cmd: sh stage artifacts/scores/${key}
      deps:
      - source
      outs:
      - artifacts/scores/${key}
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def dvc(*arguments: str) -> None:
    run(sys.executable, "-m", "dvc", *arguments)


def commit(message: str) -> None:
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", message)


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with committed results, at the top of its git repository or in a folder of it."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "DVC_"))]:
        monkeypatch.delenv(name)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.org")
    below = getattr(request, "param", "")
    folder = tmp_path / "repository" / below
    folder.mkdir(parents=True)
    run("git", "init", "-q", "-b", "main", str(tmp_path / "repository"))
    monkeypatch.chdir(folder)
    dvc("init", "-q", *(["--subdir"] if below else []))
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "stage").write_text(STAGE)
    (folder / "source").write_text("first\n")
    dvc("repro", "-q")
    commit("first")
    return folder


@pytest.mark.parametrize("project", ["", "below/project"], indirect=True, ids=["top", "subfolder"])
def test_a_revision_whose_scores_are_in_the_cache(project: Path, tmp_path: Path) -> None:
    before = (project / "artifacts/scores/tuned/n").read_text()
    (project / "source").write_text("second\n")
    dvc("repro", "-q")
    dvc("exp", "save", "-f", "-n", "mine")
    for name, text in (("main", before), ("mine", (project / "artifacts/scores/tuned/n").read_text())):
        folder = _folder(name, "tuned", tmp_path / name)
        assert folder == tmp_path / name and (folder / "n").read_text() == text


def test_the_workspace_has_the_scores_of_the_current_revision(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("git", "branch", "other")
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(project / "artifacts")
    with pytest.raises(SteadyPhiError, match=r"main: DVC's cache does not .*; run dvc repro$"):
        _folder("main", "tuned", tmp_path / "0")
    dvc("repro", "-q")
    assert "dvc.lock" in run("git", "status", "--porcelain")  # the digests are not the committed ones
    for number, name in enumerate(("main", "HEAD", "other"), 1):
        assert _folder(name, "tuned", tmp_path / str(number)) == Path("artifacts/scores/tuned")
        assert f"{name}: DVC's cache does not have its artifacts/scores/tuned; comparing the workspace's" in (
            capsys.readouterr().err
        )
    (project / "source").write_text("changed\n")
    dvc("repro", "-q")
    with pytest.raises(SteadyPhiError, match="the workspace is not up to date with it; run dvc repro"):
        _folder("main", "tuned", tmp_path / "4")
    commit("second")
    with pytest.raises(SteadyPhiError, match=r"check other out, run dvc repro and commit dvc\.lock"):
        _folder("other", "tuned", tmp_path / "5")
    with pytest.raises(SteadyPhiError, match="nowhere: is neither a folder nor a revision; `dvc exp list`"):
        _folder("nowhere", "tuned", tmp_path / "6")


def test_changes_have_q_values() -> None:
    comparison = experiment().comparison
    assert comparison
    lines = render(comparison).splitlines()
    heads = lines[2].split()
    assert heads == ["before", "after", "change", "interval", "q"]
    for row in comparison.measures:
        assert row.q_value is not None
        q = "<0.001" if row.q_value < 0.001 else f"{row.q_value:.3f}"
        name = CATALOGUE[row.key].name
        (line,) = (line for line in lines if line.startswith(f"{name}  "))
        assert line.endswith(f" {q}") and line.index(f" {q}") + 1 == lines[2].index("q")
    assert any(line.startswith("q: the p-value of a change, adjusted") for line in lines)
