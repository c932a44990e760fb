"""steadyphi experiments: the rows of done, queued, running and failed experiments; real git and DVC."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steadyphi.cli.experiments import MEASURES, render, table
from steadyphi.cli.main import main

# What `dvc exp show --json` of DVC 3.67.1 printed for the project below, with one experiment that was done,
# one running, one queued and one failed. For the failed one it has the metrics that main has.
RECORDED = Path(__file__).with_name("exp_show.json")
DVC_YAML = """
stages:
  compose:
    cmd: python stage.py compose
    params: [params.yaml: ]
    outs: [artifacts/config/publish.yaml]
  publish:
    cmd: python stage.py publish
    deps: [artifacts/config/publish.yaml]
    metrics: [metrics/summary.json: {cache: false}]
"""
STAGE = """
import json, sys
from pathlib import Path
import yaml
settings = Path('artifacts/config/publish.yaml')
if sys.argv[1] == 'compose':
    params = yaml.safe_load(open('params.yaml'))
    params['finetune']['lr'] = params['finetune']['lr'] or 0.002
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(yaml.safe_dump({'settings': params}))
else:
    lr = yaml.safe_load(settings.read_text())['settings']['finetune']['lr']
    Path('metrics/summary.json').write_text(json.dumps({'spread_unseen_tuned': 50 * lr, 'gate_passed': 0.0}))
"""


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["experiment"] or row["state"]: row for row in rows}


def test_only_done_experiments_have_results(tmp_path: Path) -> None:
    shown = json.loads(RECORDED.read_text())
    recorded = {e["name"]: e["revs"][0]["data"]["metrics"] for e in shown[1]["experiments"]}
    assert recorded["bad"] == shown[0]["data"]["metrics"]  # what DVC shows for the failed experiment
    rows = by_name(table(shown, tmp_path))
    assert {name: row["state"] for name, row in rows.items()} == {
        "main": "done",
        "good": "done",
        "slow": "running",
        "later": "queued",
        "bad": "failed",
    }
    for name in ("slow", "later", "bad"):
        assert all(rows[name][label] is None for label in MEASURES), name
    assert (rows["main"]["spread unseen"], rows["good"]["spread unseen"]) == (0.02, 0.01)
    # The rate that the settings name; null is the value of conf/, which only the cache knows.
    assert [rows[name]["lr"] for name in ("slow", "later", "bad", "good")] == [8, 7, 9, None]
    text = render(list(rows.values()))
    assert "done     phi-tiny        full                         2.0%" in text
    assert len({len(line.split("phi-tiny")[0]) for line in text.splitlines()[1:]}) == 1  # aligned


def test_settings_come_from_the_cache(tmp_path: Path) -> None:
    shown = json.loads(RECORDED.read_text())
    digest = shown[1]["data"]["outs"]["artifacts/config/publish.yaml"]["hash"]
    (tmp_path / digest[:2]).mkdir()
    settings = "settings: {model: phi-2, method: full, finetune: {lr: 0.002, epochs: 3}}"
    (tmp_path / digest[:2] / digest[2:]).write_text(settings)
    row = by_name(table(shown, tmp_path))["main"]
    assert (row["model"], row["lr"], row["epochs"]) == ("phi-2", 0.002, 3)


def test_a_workspace_with_other_results_is_a_row(tmp_path: Path) -> None:
    shown = json.loads(RECORDED.read_text())
    shown[0]["data"]["metrics"]["metrics/summary.json"]["data"]["spread_unseen_tuned"] = 0.5
    rows = table(shown, tmp_path)
    assert (rows[0]["state"], rows[0]["spread unseen"]) == ("workspace", 0.5)
    assert "50.0%" in render(rows).splitlines()[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("GIT_", "DVC_"))]:
        monkeypatch.delenv(name)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.org")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "params.yaml").write_text("model: phi-tiny\nmethod: full\nfinetune: {lr: null, epochs: 3}\n")
    (tmp_path / "metrics").mkdir()
    (tmp_path / ".gitignore").write_text("/artifacts\n")
    run("git", "init", "-q", "-b", "main")
    dvc("init", "-q")
    dvc("repro", "-q")
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "one")
    return tmp_path


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def dvc(*arguments: str) -> None:
    run(sys.executable, "-m", "dvc", *arguments)


@pytest.mark.slow
def test_a_real_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dvc("exp", "run", "-q", "-n", "fast", "-S", "finetune.lr=0.01")
    main(["experiments", "--json"])
    rows = by_name(json.loads(capsys.readouterr().out))
    assert rows.keys() == {"main", "fast"}
    assert (rows["main"]["lr"], rows["main"]["spread unseen"]) == (0.002, 0.1)
    assert (rows["fast"]["lr"], rows["fast"]["spread unseen"]) == (0.01, 0.5)


def test_outside_of_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SystemExit, match=r"error: dvc exp show failed: .*DVC repository.*; run it in the proj"
    ):
        main(["experiments"])
