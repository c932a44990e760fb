"""Stages become rows of MLflow with what they log, and a published row has what it shows."""

import math
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from steadyphi.tracking.mlflow_store import origin, tracking_uri
from steadyphi.tracking.published import Data, Published
from steadyphi.tracking.values import flatten
from tests.tracking.conftest import DIGEST, isolate
from tests.tracking.rows import client, history, published, record, runs, summarize


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
