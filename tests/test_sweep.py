"""scripts/sweep.py with a pipeline whose training is a formula."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import sweep
from steadyphi.errors import SteadyPhiError
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.cloud]
TRAIN = """
import json, os, pathlib, time, yaml
params = yaml.safe_load(open("params.yaml"))
if params["sleep"]:
    pathlib.Path(os.environ["DVC_ROOT"], f"{os.getpid()}.pid").touch()
    time.sleep(120)
pathlib.Path("metrics").mkdir(exist_ok=True)
rows = sum(source.get("weight", 1) for source in params["prepare"]["sources"])
facts = {"valid_accuracy": params["finetune"]["lr"] * rows, "threads": int(os.environ["OMP_NUM_THREADS"])}
json.dump(facts, open("metrics/finetune.json", "w"))
"""
DVC = """
stages:
  finetune:
    cmd: python train.py
    deps: [train.py]
    params: [finetune, prepare, sleep]
    metrics: [metrics/finetune.json: {cache: false}]
"""
PARAMS = "sleep: false\nfinetune: {lr: 0.1}\nprepare: {sources: []}\n"
SPACE = """
finetune.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
finetune.method.r: {choices: [4, 8]}
prepare.sources: {choices: [[{file: a.jsonl}, {file: b.jsonl, weight: 2.5}]]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("optuna", reason="needs Optuna; make cloud installs it")
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    texts = {"train.py": TRAIN, "dvc.yaml": DVC, "params.yaml": PARAMS, ".gitignore": "/.cache\n"}
    for name, text in texts.items():
        Path(name).write_text(text)
    Path("tiny.yaml").write_text(SPACE)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for command in (
        [*git, "init", "-q", "-b", "main"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        [*git, "add", "-A"],
        [*git, "commit", "-q", "-m", "start"],
    ):
        subprocess.run(command, check=True)
    return tmp_path


COMMAND = [sys.executable, str(ROOT / "scripts" / "sweep.py"), "tiny.yaml"]


def run(*arguments: str) -> str:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_trials_are_two_experiments(project: Path) -> None:
    printed = run("--trials", "2", "--workers", "2")
    study = sweep.open_study("tiny")
    assert [trial.user_attrs["experiment"] for trial in study.trials] == ["tiny-000", "tiny-001"]
    for trial in study.trials:
        assert trial.value == pytest.approx(3.5 * trial.params["finetune.lr"])
        assert trial.value == sweep.result(trial.user_attrs["experiment"])
    assert printed.startswith(f"best: {study.best_trial.user_attrs['experiment']}, ")
    assert run("--trials", "2") == printed  # nothing is left to do
    # Stopped while a trial ran: the trial is tried again, with the same values.
    left = study.ask()
    values = sweep.suggest(left, sweep.read_space(Path("tiny.yaml")))
    run("--trials", "3", "--workers", "1")
    again = sweep.open_study("tiny").trials[-1]
    assert again.params["finetune.lr"] == values["finetune.lr"] and again.state.name == "COMPLETE"


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_signal_stops_all_workers(project: Path, number: signal.Signals, workers: int) -> None:
    Path("tiny.yaml").write_text("sleep: {choices: [true]}\nfinetune.lr: {low: 0.0, high: 1.0}\n")
    process = subprocess.Popen(
        [*COMMAND, "--trials", "3", "--workers", str(workers)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while len(training := list(project.glob("*.pid"))) < workers and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(number)
    _, printed = process.communicate(timeout=120)
    assert len(training) == workers and process.returncode == 1
    assert printed.splitlines()[-1] == "stopped; the same command continues"
    for path in training:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.stem), 0)
    assert not list(Path(".dvc/tmp/exps").rglob("train.py"))
    trials = sweep.open_study("tiny").trials
    assert [trial.state.name for trial in trials] == ["FAIL"] * workers + ["WAITING"] * workers
    fixed = [trial.system_attrs["fixed_params"] for trial in trials[workers:]]
    assert all(trial.params in fixed for trial in trials[:workers])


def test_a_failed_trial_does_not_end_the_sweep(project: Path) -> None:
    Path("tiny.yaml").write_text("finetune.lr: {choices: [null]}\n")
    done = subprocess.run(
        [*COMMAND, "--trials", "2", "--workers", "1"], capture_output=True, text=True, check=False
    )
    *trials, last = done.stderr.splitlines()
    for number, line in enumerate(trials):
        name = f"tiny-00{number}"
        assert line == f"trial {number} failed: the experiment {name} failed; see .cache/sweep/{name}.log"
    assert len(trials) == 2 and done.returncode == 1
    assert last == "error: no trial was completed; .cache/sweep has the log of each"


def test_a_continued_sweep_draws_other_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", reason="needs Optuna; make cloud installs it")
    monkeypatch.chdir(tmp_path)
    drawn = []
    for _ in range(2):
        study = sweep.open_study("tiny")
        for _ in range(3):
            trial = study.ask()
            drawn.append(sweep.suggest(trial, {"finetune.lr": {"low": 0.0, "high": 1.0}})["finetune.lr"])
            study.tell(trial, 0.0)
    assert len(set(drawn)) == 6


def test_a_bad_trial_is_stopped_and_leaves_no_copy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    seen: list[str] = []

    def accuracies(experiment: str) -> list[tuple[int, float]]:
        seen.append(experiment)
        return [(10, 0.1)] if list(Path(".dvc/tmp/exps").rglob("train.py")) else []

    monkeypatch.setattr(sweep, "accuracies", accuracies)
    monkeypatch.setattr(sweep, "SECONDS", 1)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=0.5))
    Path(".cache/sweep").mkdir(parents=True)
    study.optimize(
        sweep.Sweep("bad", {"sleep": {"choices": [True]}}, [], [{"CUDA_VISIBLE_DEVICES": "1"}]).trial, 1
    )
    assert study.trials[0].state.name == "PRUNED" and study.trials[0].intermediate_values == {10: 0.1}
    assert set(seen) == {"bad-000"}
    assert not list(Path(".dvc/tmp/exps").rglob("train.py"))


def test_one_worker_per_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert sweep.slots(None) == [{"CUDA_VISIBLE_DEVICES": "4"}, {"CUDA_VISIBLE_DEVICES": "6"}]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [slot["OMP_NUM_THREADS"] for slot in sweep.slots(None)] == ["2"] * 4


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("{low: 1}", "should have low and high, or a list of choices"),
        ("{choices: []}", "should have low and high, or a list of choices"),
        ("3", "should have low and high, or a list of choices"),
        ("{low: 1e-4, high: 1.0e-2}", "low should be a number, not '1e-4' .write 1e-4 as 1.0e-4"),
        ("{low: 0, high: true}", "high should be a number, not True"),
        ("{low: 2, high: 1}", "low should not be above high"),
        ("{low: 0.0, high: 1.0, log: true}", "low should be above 0, because log is true"),
    ],
)
def test_a_setting_without_values(tmp_path: Path, kind: str, problem: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(f"finetune.lr: {kind}\n")
    with pytest.raises(SteadyPhiError, match=rf"finetune\.lr: {problem}"):
        sweep.read_space(path)


def test_values_are_whole_if_both_bounds_are() -> None:
    trial = pytest.importorskip("optuna", reason="needs Optuna; make cloud installs it").create_study().ask()
    space = {"share": {"low": 0, "high": 0.8}, "layers": {"low": 1, "high": 9}}
    values = sweep.suggest(trial, space)
    assert 0 < values["share"] < 0.8 and isinstance(values["layers"], int)
