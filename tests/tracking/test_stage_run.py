import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steadyphi.tracking.mlflow_store import origin, tracking_uri
from steadyphi.tracking.published import Data, Published
from steadyphi.tracking.stage_run import KEPT, stage_run
from steadyphi.tracking.values import flatten
from tests.conftest import ROOT
from tests.tracking.conftest import DIGEST, isolate

STAGE = """
import sys, time
from steadyphi.tracking.stage_run import stage_run
with stage_run(sys.argv[1], experiment="steadyphi", digest=sys.argv[2], settings={},
               title="title of " + sys.argv[2]) as run:
    run.metrics({"loss": 1.0}, step=0)
    print("ready", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri())


def runs() -> tuple[list[Any], list[Any]]:
    """The parents and the children of the experiment."""
    api = client()
    found = api.search_runs([api.get_experiment_by_name("steadyphi").experiment_id])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in children], children


def name_of(run: Any) -> str:
    """The stage of a child, the digest in the title of a parent."""
    return str(run.info.run_name).removeprefix("title of ").split(" · ")[0]


def history(run: Any, metric: str) -> list[float]:
    return [point.value for point in client().get_metric_history(run.info.run_id, metric)]


def record(stage: str = "finetune", digest: str = DIGEST, **settings: Any) -> Any:
    title = f"title of {digest}"
    return stage_run(stage, experiment="steadyphi", digest=digest, settings=settings, title=title)


def start(*arguments: str, seconds: float = 0, under: tuple[str, ...] = ("-c",)) -> Any:
    return subprocess.Popen(
        [sys.executable, *under, STAGE, *arguments, str(seconds)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_stage_becomes_a_child_of_its_experiment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "it's-lora")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c0ffee")
    monkeypatch.setenv("DVC_STAGE", "sub/dvc.yaml:evaluate@base")
    (root / "plot.txt").write_text("plot")
    with record("evaluate") as run:
        run.params({"model": {"name": "phi-tiny", "long": "x" * 9000}, "styles@": ["a", "b"]})
        run.metrics({"loss": 2.0}, step=0)
        run.metrics({"loss": 1.0, "nan": math.nan, "inf": math.inf}, step=1)
        run.artifact(root / "plot.txt", "plots")
        run.output("adapter", "abc")
    [parent], [child] = runs()
    assert (parent.info.run_name, parent.info.status) == ("it's-lora", "RUNNING")
    assert (child.info.run_name, child.info.status) == ("evaluate@base · it's-lora", "FINISHED")
    tags = {"dvc.stage": "evaluate@base", "dvc.experiment": "it's-lora", "git.revision": "c0ffee"}
    tags |= {"output.adapter": "abc", "mlflow.parentRunId": parent.info.run_id}
    assert tags.items() <= child.data.tags.items()
    assert child.data.params == {"model.name": "phi-tiny", "model.long": "x" * 6000, "styles_": '["a", "b"]'}
    assert child.data.metrics["loss"] == 1.0
    assert math.isnan(child.data.metrics["nan"])
    assert history(child, "loss") == [2.0, 1.0]
    [artifact] = (root / "mlartifacts").rglob("plots/plot.txt")
    assert artifact.read_text() == "plot"


def test_runs_go_to_the_repository_not_to_the_working_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "temporary" / "report"
    report.mkdir(parents=True)
    (report / "index.html").write_text("<p>")
    monkeypatch.chdir(report.parent)
    with record() as run:
        run.artifact(report)
    assert list(report.parent.iterdir()) == [report]
    assert len(list((root / "mlartifacts").rglob("report/index.html"))) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]
)
def test_an_exception_marks_the_run_and_goes_on(root: Path, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), record(seed=7) as run:
        run.metrics({"loss": 1.0})
        raise error
    [parent], [child] = runs()
    assert (child.info.status, child.data.metrics) == (status, {"loss": 1.0})
    assert (parent.info.status, parent.data.params) == (status, {"seed": "7"})


def summarize(metrics: dict[str, float], root: Path, **settings: Any) -> None:
    (root / "report.md").write_text("report")
    with record("publish", **settings) as run:
        run.summary(published(metrics, root / "report.md"))


def published(metrics: dict[str, float], *artifacts: Path) -> Published:
    return Published(["steadier"], {name: [(0, value)] for name, value in metrics.items()}, artifacts)


def test_summary_is_idempotent_and_its_last_value_wins(root: Path) -> None:
    for value in (0.5, 0.5, 0.25):  # the store would keep the larger of two values of one moment
        summarize({"spread": value, "nan": math.nan, "inf": math.inf}, root, seed=0, lr=None)
    [parent], children = runs()
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"seed": "0", "lr": "null"}
    assert parent.data.metrics["spread"] == 0.25
    assert [len(history(parent, name)) for name in ("spread", "nan", "inf")] == [2, 1, 1]
    assert len(list((root / "mlartifacts").rglob("report.md"))) == 1
    assert len(children) == 3


def test_a_published_row_shows_curves_data_and_a_model(root: Path) -> None:
    (root / "formats.png").write_bytes(b"picture")
    curve = [(0, 0.5), (10, 0.25)]
    content = Published(
        ["It is steadier.", "Much."],
        {"spread/tested": curve, "loss/train": [(5, 2.0), (10, 1.0)]},
        [root / "formats.png"],
        "formats.png",
        [Data("textbook", "training", "a" * 64, "textbook.py", {"rows": 7})],
        "phi-1.5-full",
        {"folder": "artifacts/tuned"},
    )
    for _ in range(2):  # what is there already is not logged again
        with record("publish") as run:
            run.summary(content)
    [parent], children = runs()
    assert parent.info.run_name == f"title of {DIGEST}"
    assert {child.info.run_name for child in children} == {f"publish · title of {DIGEST}"}
    assert history(parent, "spread/tested") == [0.5, 0.25] and history(parent, "loss/train") == [2.0, 1.0]
    note = parent.data.tags["mlflow.note.content"]
    picture = f"![formats.png](get-artifact?path=formats.png&run_uuid={parent.info.run_id})"
    assert note == f"It is steadier.\n\nMuch.\n\n{picture}"
    [data] = parent.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.profile, data.tags[0].value) == (
        "textbook",
        '{"rows": 7}',
        "training",
    )
    [output] = parent.outputs.model_outputs
    model = client().get_logged_model(output.model_id)
    assert (model.name, model.tags["folder"]) == ("phi-1_5-full", "artifacts/tuned")  # MLflow forbids the dot


def test_who_ran_what(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert origin() == {"mlflow.source.type": "PROJECT", "mlflow.user": "ada"}  # no repository
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for name in ("code.py", "params.yaml"):
        (root / name).write_text("first")
    for command in (["init", "-q"], ["add", "code.py", "params.yaml"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    clean = origin()
    assert clean["git.dirty"] == "false" and len(clean["git.revision"]) == 40
    assert clean["mlflow.source.git.commit"] == clean["git.revision"]
    (root / "params.yaml").write_text("second")
    assert origin() == clean  # the run records its settings
    (root / "code.py").write_text("second")
    assert origin() == {**clean, "git.dirty": "true"}


def test_a_published_row_is_running_only_while_a_stage_runs(root: Path) -> None:
    summarize({"spread": 0.5}, root)
    with record():
        assert runs()[0][0].info.status == "RUNNING"
    assert runs()[0][0].info.status == "FINISHED"  # publish may be skipped, its inputs being what they were


def test_one_name_with_other_settings_is_another_row(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "lora")
    for digest, seed in (("a" * 12, 0), ("b" * 12, 1)):
        with record("publish", digest, seed=seed) as run:
            run.summary(published({}))
    parents, _ = runs()
    assert {(run.info.run_name, run.data.params["seed"]) for run in parents} == {("lora", "0"), ("lora", "1")}


def test_secrets_are_left_out_or_masked() -> None:
    token = "hf_" + "abcDEF123" * 4  # put together, lest a scanner takes it for a real one
    settings = {
        "hf_token": token,
        "hub": {"apiKey": "k", "password": {"value": "p"}, "revision": f"see {token}"},
        "sources": [{"secret": "s", "url": "https://me:p@ss@host/data"}, "https://host/x?access_token=t&b=1"],
        "max_tokens": 8,
        "tokenizer": "gpt2",
        "pad_token": None,
    }
    assert flatten(settings) == {
        "hub.revision": "see hf_***",
        "sources": '[{"url": "https://***@host/data"}, "https://host/x?access_token=***&b=1"]',
        "max_tokens": "8",
        "tokenizer": "gpt2",
        "pad_token": "null",
    }


def test_system_metrics_arrive_even_from_a_short_stage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
    with record():
        time.sleep(0.2)
    _, [child] = runs()
    assert "system/cpu_utilization_percentage" in child.data.metrics
    assert all(thread.name != "SystemMetricsMonitor" for thread in threading.enumerate())


def one_warning(capfd: pytest.CaptureFixture[str], then: str = KEPT) -> str:
    out, err = capfd.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("warning: MLflow: ")
    assert line.endswith(f"; {then}")
    return line


@pytest.mark.parametrize(
    ("uri", "then"),
    [
        ("http://me:pw@127.0.0.1:9", KEPT),
        ("sqlite:////proc/no/mlflow.db", KEPT),
        ("foo://bar", "the stage goes on without tracking"),  # no such kind of store, also later
    ],
)
def test_a_store_out_of_reach_costs_a_warning_and_a_few_seconds(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], uri: str, then: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    begin = time.monotonic()
    with record() as run:
        run.params({"seed": 0})
        run.metrics({"loss": 1.0})
        run.summary(published({}))
    assert time.monotonic() - begin < 8
    assert "pw" not in one_warning(capfd, then)
    assert not [p for p in (root / ".cache").rglob("*") if p.is_file() and b"pw" in p.read_bytes()]


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begin = time.monotonic()
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:  # takes connections, no more
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        with record() as run:
            run.metrics({"loss": 1.0})
    assert time.monotonic() - begin < 15
    one_warning(capfd)


@pytest.mark.parametrize(
    "act",
    [
        lambda run: run.metrics({"loss": "not a number"}),
        lambda run: run.metrics({"/bad//name": 1.0}),  # buffered: fails at the end
    ],
)
def test_a_failure_midway_still_ends_the_run(
    root: Path, capfd: pytest.CaptureFixture[str], act: Callable[[Any], None]
) -> None:
    with record() as run:
        act(run)
        run.output("model", "abc")
    one_warning(capfd, "the stage goes on without tracking")
    assert runs()[1][0].info.status == "FINISHED"


@pytest.mark.slow
def test_a_killed_migration_leaves_nothing_that_git_sees(root: Path) -> None:
    (root / "mlflow.db").unlink()
    stage = start("finetune", DIGEST, seconds=60)
    until = time.monotonic() + 60
    while not any((root / ".cache").glob(".mlflow.db.*.tmp")):
        assert time.monotonic() < until and stage.poll() is None
        time.sleep(0.01)
    stage.kill()
    stage.communicate()
    assert {path.name for path in root.iterdir()} == {".cache"}  # which .gitignore names
    with record():
        pass
    assert runs()[1][0].info.status == "FINISHED"


@pytest.mark.slow
def test_a_fresh_store_survives_processes_that_start_together(root: Path) -> None:
    (root / "mlflow.db").unlink()
    stages = [start(f"evaluate@{i}", DIGEST) for i in range(3)] + [start("finetune", "b" * 12)]
    for stage in stages:
        assert stage.communicate(timeout=120) == ("ready\n", "")  # MLflow's own chatter would show here
    parents, children = runs()
    assert sorted(run.info.run_name for run in parents) == [f"title of {DIGEST}", "title of " + "b" * 12]
    assert len(children) == 4
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {path.name for path in root.iterdir()} == {"mlflow.db", ".cache"}


@pytest.mark.slow
def test_the_dead_are_reaped_and_the_living_are_not(root: Path) -> None:
    dvc = root / "dvc"
    dvc.write_text("import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])")
    killed = start("fetch", "a" * 12, seconds=60)
    orphaned = start("finetune", "b" * 12, seconds=60, under=(str(dvc),))
    for process in (killed, orphaned):
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.wait()

    def statuses() -> dict[str, str]:
        with record("next"):
            return {name_of(run): run.info.status for group in runs() for run in group}

    now = statuses()
    assert now["fetch"] == "KILLED"
    assert now["a" * 12] == "RUNNING"  # its owner, this process, may well start the next stage
    assert (now["finetune"], now["b" * 12]) == ("RUNNING", "RUNNING")  # dvc is dead, its stage is not
    [orphan] = [run for run in runs()[1] if run.info.run_name.startswith("finetune ")]
    os.kill(int(orphan.data.tags["process"].split(":")[1]), signal.SIGKILL)
    time.sleep(0.2)
    assert [statuses()[name] for name in ("finetune", "b" * 12)] == ["KILLED", "KILLED"]


@pytest.mark.slow
def test_sigterm_ends_the_run(root: Path) -> None:
    stage = start("finetune", DIGEST, seconds=60)
    assert stage.stdout.readline() == "ready\n"
    stage.terminate()
    assert stage.communicate(timeout=30)[1] == ""
    assert stage.returncode == 128 + signal.SIGTERM
    _, [child] = runs()
    assert (child.info.status, child.data.metrics) == ("KILLED", {"loss": 1.0})


def test_without_an_artifact_store_metrics_and_status_are_recorded(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "mlartifacts").write_text("a file where a folder should be")
    (tmp_path / "curve.csv").write_text("step\n1\n")
    with record() as run:
        run.params({"lr": 0.1})
        run.artifact(tmp_path / "curve.csv")
        run.text("an answer", "samples/1.txt")
        run.metrics({"loss": 0.5}, step=3)
        run.summary(published({"spread": 0.2}, tmp_path / "curve.csv"))
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: MLflow: the artifact store file://")
    assert warnings[0].endswith(f"; {KEPT}")
    experiment = client().get_experiment_by_name("steadyphi")
    runs = client().search_runs([experiment.experiment_id])
    assert {r.info.status for r in runs} == {"FINISHED"} and len(runs) == 2
    assert {"loss": 0.5} in [r.data.metrics for r in runs] and {"spread": 0.2} in [
        r.data.metrics for r in runs
    ]


@pytest.mark.parametrize("uri", [None, "sqlite:///rel.db"])
def test_a_moved_repository_finds_its_artifacts(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str | None
) -> None:
    if uri:
        (root / "mlflow.db").rename(root / "rel.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    (tmp_path / "curve.csv").write_text("step\n1\n")
    with record() as run:
        run.artifact(tmp_path / "curve.csv")
    moved = tmp_path / "moved"
    root.rename(moved)
    monkeypatch.setenv("DVC_ROOT", str(moved))
    with record() as run:
        run.artifact(tmp_path / "curve.csv")
    assert not root.exists()
    experiment = client().get_experiment_by_name("steadyphi")
    stages = [r for r in client().search_runs([experiment.experiment_id]) if "dvc.stage" in r.data.tags]
    assert len(stages) == 2
    for stage in stages:
        assert [file.path for file in client().list_artifacts(stage.info.run_id)] == ["curve.csv"]


def test_a_relative_database_is_the_repositorys(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "mlflow.db").rename(root / "rel.db")
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///rel.db")
    with record() as run:
        run.metrics({"loss": 0.5})
    assert tracking_uri() == f"sqlite:///{root / 'rel.db'}" and not list(copy.iterdir())
    assert client().get_experiment_by_name("steadyphi")


def test_a_folder_with_a_question_mark(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "what?"
    root.mkdir()
    shutil.copy(template, root)
    isolate(monkeypatch, root)
    monkeypatch.chdir(root)
    with record() as run:
        run.metrics({"loss": 0.5})
    assert client().get_experiment_by_name("steadyphi")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["what?"]
    assert {path.name for path in root.iterdir()} <= {".cache", "mlflow.db", "mlartifacts"}
