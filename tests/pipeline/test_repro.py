"""The whole pipeline through DVC: what reruns after which change, and what MLflow then holds."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import kills
from tests.pipeline.conftest import SMALL, STAGES, Project, stages_run

pytestmark = pytest.mark.slow


def stage_of(run: Any) -> str:
    """Return the stage of a child run, whose name is `STAGE · EXPERIMENT`."""
    return str(run.info.run_name).split(" · ")[0]


def test_the_first_run_leaves_metrics_a_report_and_a_row(project: Project) -> None:
    assert set(project.lock()) == set(STAGES)
    summary = json.loads((project.folder / "metrics/summary.json").read_text())
    for which in ("base", "tuned"):
        metrics = json.loads((project.folder / f"metrics/evaluate-{which}.json").read_text())
        assert (metrics["items"], metrics["formats"]) == (18, 2)
        assert summary[f"spread_{which}"] == metrics["spread"]
    for path in project.folder.glob("metrics/*.json"):  # flat, and no timing among them
        values = json.loads(path.read_text())
        assert values and all(isinstance(v, int | float) for v in values.values()), path
        assert not [k for k in values if re.search("second|time|rate_per", k)]
    (parent,) = [r for r in project.runs(parents=True) if r.info.status == "FINISHED"]
    assert parent.data.metrics["spread/named"] == summary["spread_tuned"]
    assert parent.data.params["finetune.method.name"] == "full"
    children = {stage_of(r): r for r in project.runs(parents=False)}
    assert set(children) == set(STAGES)
    assert {r.info.status for r in children.values()} == {"FINISHED"}
    assert {r.data.tags["mlflow.parentRunId"] for r in children.values()} == {parent.info.run_id}
    assert children["finetune"].data.metrics["train_loss"] > 0
    assert children["convert"].data.tags["output.model"]


def test_dvc_shows_metrics_and_plots(project: Project) -> None:
    shown = json.loads(project.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert {"metrics/summary.json", "metrics/evaluate-base.json"} <= {p.replace(os.sep, "/") for p in shown}
    page = project.run("dvc", "plots", "show", "-o", "dvc_plots").stdout
    html = (project.folder / "dvc_plots" / "index.html").read_text()
    assert page and "valid_loss" in html and "phi2" in html
    (link,) = re.findall('href="([^"]*report.html)"', html)
    assert (project.folder / "dvc_plots" / link).resolve() == (
        project.folder / "artifacts/report/report.html"
    )


def test_a_second_repro_runs_nothing(project: Project) -> None:
    before = len(project.runs(parents=False))
    assert project.repro() == []
    assert len(project.runs(parents=False)) == before
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_a_comment_reruns_compose_alone(project: Project) -> None:
    path = project.folder / "conf" / "config.yaml"
    text = path.read_text()
    path.write_text(text + "# a comment\n")
    assert project.repro() == ["compose"]
    path.write_text(text)
    assert project.repro() == []  # known from before: the run cache answers


def test_one_finetune_setting_reruns_what_it_touches(project: Project) -> None:
    project.params(finetune={"lr": 4e-3, "epochs": 1})
    assert project.repro() == ["compose", "finetune", "evaluate@tuned", "publish", "gate"]
    assert project.run("git", "diff", "--name-only", "metrics/evaluate-base.json").stdout == ""


def test_the_gate_fails_where_the_tuned_model_is_worse(project: Project) -> None:
    """A ruinous rate: the report is made anyway, and the next repro is refused too."""
    ruinous: dict[str, Any] = {
        "finetune": {"lr": 0.5, "epochs": 1},
        "prepare": SMALL["prepare"] | {"items": 80},
    }
    project.params(**ruinous, evaluate={"draws": 200, "gate": True})
    for _ in range(2):
        failed = project.run("dvc", "repro", check=False)
        assert failed.returncode != 0
        (reasons,) = re.findall("error: evaluate.gate: (.+); artifacts/report/report.html", failed.stderr)
        assert "falls:" in reasons or "grows:" in reasons
    assert json.loads((project.folder / "metrics/summary.json").read_text())["gate_passed"] == 0
    assert (project.folder / "artifacts/report/report.html").exists()
    project.params(**ruinous, evaluate={"draws": 200, "gate": False})
    assert project.repro() == ["compose", "gate"]  # off: nothing is evaluated anew


def test_revisions_are_compared(project: Project) -> None:
    shown = project.run("steadyphi", "compare", "HEAD", "artifacts/scores/tuned").stdout
    assert re.search(r"^Spread .* 0\.0 points", shown, re.MULTILINE) and "gate: passed" in shown
    assert "log-probabilities equal the base model" in shown
    before = project.run(
        "steadyphi", "compare", "HEAD", "artifacts/scores/tuned", "--which", "base", "--json"
    )
    rows = {row["key"]: row for row in json.loads(before.stdout)["measures"]}
    summary = json.loads((project.folder / "metrics" / "summary.json").read_text())
    assert abs(rows["spread"]["change"] - summary["spread_change"]) < 1e-6
    refused = project.run("steadyphi", "compare", "nowhere", "HEAD", check=False)
    assert refused.returncode == 1 and "error: nowhere: is neither a folder nor a revision" in refused.stderr


def test_another_model_of_the_same_weights_touches_training_alone(project: Project) -> None:
    """Swapping the model reruns what depends on it and nothing else: here only the rate is another."""
    source = project.folder / "conf" / "model" / "phi-tiny.yaml"
    text = source.read_text().replace("name: phi-tiny", "name: twin").replace("full: 7.0e-4", "full: 7.1e-4")
    source.with_name("twin.yaml").write_text(text)
    project.params(model="twin")
    assert project.repro("compose") == ["compose"]
    changed = json.loads(project.run("dvc", "status", "--json").stdout)
    assert set(changed) == {"finetune", "publish"}  # and evaluate@tuned, once there is another model


def test_two_models_queued_then_swapped_in(project: Project, hub: None) -> None:
    """phi-1.5 and phi-2 by name, through huggingface_hub, from a Hub on the loopback."""
    before = {r.info.run_id for r in project.runs(parents=True)}
    project.run("dvc", "exp", "run", "--queue", "-S", "model=phi-1.5,phi-2")
    # Not through `run`: the worker stays a while after its work and would hold the pipes open.
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["dvc", "queue", "start"], cwd=project.folder, env=project.env, check=True, **silent)
    for _ in range(240):
        status = project.run("dvc", "queue", "status").stdout
        if not re.search("Queued|Running", status):
            break
        time.sleep(1)
    assert len(re.findall("Success", status)) == 2, status
    new = [r for r in project.runs(parents=True) if r.info.run_id not in before]
    assert {r.data.params["model"] for r in new} == {"phi-1.5", "phi-2"}
    assert {r.info.status for r in new} == {"FINISHED"}
    shown = project.run("dvc", "exp", "show", "--csv").stdout
    for run in new:
        assert run.data.tags["steadyphi.experiment"] in shown  # the row is called as DVC calls it
    stages = [stage_of(r) for r in project.runs(parents=False) if r.data.tags.get("dvc.experiment")]
    assert set(stages) == set(STAGES)  # the model decides all of them

    # Swapped in by hand, all is known already: nothing runs, and the rows stay as they were.
    project.params(model="phi-2")
    assert project.repro() == []
    made = json.loads((project.folder / "artifacts/model/manifest.json").read_text())
    assert (made["source"], made["source_tensors"]) == ("microsoft/phi-2", 33)
    after = [r for r in project.runs(parents=True) if r.info.run_id not in before]
    assert {r.info.run_id for r in after} == {r.info.run_id for r in new}
    assert {r.info.status for r in after} == {"FINISHED"}


def test_an_experiment_in_a_temporary_copy_keeps_its_run_and_artifacts(project: Project) -> None:
    command = ["dvc", "exp", "run", "--temp", "-n", "warm", "-S", "+finetune.warmup_ratio=0.3"]
    done = project.run(*command)
    assert stages_run(done.stdout + done.stderr) or "warm" in done.stdout
    (row,) = [r for r in project.runs(parents=True) if r.data.tags["steadyphi.experiment"] == "warm"]
    assert row.data.params["finetune.warmup_ratio"] == "0.3" and row.info.status == "FINISHED"
    artifacts = project.folder / "mlartifacts"
    assert [p for p in artifacts.rglob("formats.png") if row.info.run_id in str(p)]
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_a_killed_stage_is_reaped_and_the_next_run_is_whole(project: Project) -> None:
    project.params(finetune={"lr": 5e-3, "epochs": 400})
    repro = subprocess.Popen(
        ["dvc", "repro"],
        cwd=project.folder,
        env=project.env,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _ in range(120):
        running = [r for r in project.runs(parents=False) if r.info.status == "RUNNING"]
        if running and stage_of(running[0]) == "finetune" and running[0].data.metrics.get("train_loss"):
            break
        time.sleep(0.5)
    os.killpg(repro.pid, signal.SIGKILL)
    repro.wait()
    run_id = running[0].info.run_id
    project.run("git", "checkout", "-q", ".")
    project.params(finetune={"lr": 3e-3, "epochs": 1})
    assert project.repro() == ["compose", "finetune", "evaluate@tuned", "publish", "gate"]
    statuses = {r.info.run_id: r.info.status for r in project.runs(parents=False)}
    assert statuses[run_id] == "KILLED"
    assert "RUNNING" not in statuses.values()
    assert "RUNNING" not in {r.info.status for r in project.runs(parents=True)}
    assert not list(project.folder.glob("artifacts/.*.tmp"))


def test_a_fine_tuning_that_was_stopped_goes_on_to_the_same_bytes(project: Project) -> None:
    """Killed once, asked to stop once, then run by DVC to its end."""
    project.params(finetune={"lr": 3e-3, "epochs": 30})
    assert "finetune" in project.repro("finetune")
    left = states(project)
    whole = project.lock()["finetune"]["outs"]
    env = project.env | {"STEADYPHI_SAVE_SECONDS": "0"}
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = saved_step(project, left)
        stage = subprocess.Popen(
            ["python", "-m", "stages.finetune"],
            cwd=project.folder,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + 120
        while saved_step(project, left) < before + 3:
            assert stage.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        stage.send_signal(number)
        _, printed = stage.communicate(timeout=60)
        assert stage.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert (
        f"stopped: finetune, saved after step {saved_step(project, left)}; dvc repro continues from there"
        in printed
    )
    project.run("dvc", "repro", "--force", "--single-item", "--no-run-cache", "finetune", **env)
    assert project.lock()["finetune"]["outs"] == whole
    assert states(project) == left  # its own is gone


def states(project: Project) -> set[Path]:
    return {path.parent for path in project.folder.glob(".cache/finetune/*/step-*")}


def saved_step(project: Project, but: set[Path]) -> int:
    states = [path for path in project.folder.glob(".cache/finetune/*/step-*") if path.parent not in but]
    return max((int(path.name.removeprefix("step-")) for path in states), default=0)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_processes_fine_tune_as_one_does(project: Project, method: str) -> None:
    project.params(method=method, finetune={"lr": 1e-3, "epochs": 2, "precision": "float32"})
    project.repro("finetune")
    metrics = project.folder / "metrics" / "finetune.json"
    alone = json.loads(metrics.read_text())
    project.run("python", "-m", "stages.finetune", STEADYPHI_NPROC="2")
    together = json.loads(metrics.read_text())
    assert together == pytest.approx(alone, abs=1e-4)
    files = {"full": "lit_model.pth", "lora": "adapter_model.safetensors"}
    assert (project.folder / "artifacts" / "tuned" / files[method]).exists()


def test_bad_settings_stop_before_any_stage(project: Project) -> None:
    project.params(finetune={"learning_rate": 1.0})
    done = project.run("dvc", "repro", check=False)
    assert done.returncode != 0 and stages_run(done.stdout) == ["compose"]
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert "params.yaml" in line and "finetune.learning_rate" in line


def test_an_unreachable_tracking_server_costs_a_warning(project: Project) -> None:
    done = project.run("python", "-m", "stages.publish", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert [x for x in done.stderr.splitlines() if x.startswith("warning: MLflow")]
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_running_twice_gives_the_same_bytes(project: Project) -> None:
    before = project.lock()
    shutil.rmtree(project.folder / ".cache" / "evaluate")  # the scores of the first time
    again = ["finetune", "evaluate@base", "evaluate@tuned"]
    done = project.run("dvc", "repro", "--force", "--single-item", "--no-run-cache", *again)
    assert stages_run(done.stdout) == again
    assert project.lock() == before
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_two_processes_score_to_the_same_bytes(project: Project) -> None:
    scores = project.folder / "artifacts" / "scores" / "base" / "scores.parquet"
    before = scores.read_bytes()
    scores.unlink()
    shutil.rmtree(project.folder / ".cache" / "evaluate")
    project.run("python", "-m", "stages.evaluate", "base", STEADYPHI_NPROC="2")
    assert scores.read_bytes() == before
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_a_clone_pulls_what_was_pushed_and_has_nothing_to_run(project: Project, tmp_path: Path) -> None:
    project.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    project.commit()
    project.run("dvc", "push", "-q")
    clone = Project(tmp_path / "clone", project.env)
    project.run("git", "clone", "-q", str(project.folder), str(clone.folder))
    clone.run("dvc", "pull", "-q")
    assert clone.repro() == []
    assert clone.run("git", "status", "--porcelain").stdout == ""
    assert clone.lock() == project.lock()
    for name in ("model/lit_model.pth", "scores/tuned/scores.parquet", "report/report.html"):
        first, second = (p.folder / "artifacts" / name for p in (project, clone))
        assert first.read_bytes() == second.read_bytes()
    project.run("git", "reset", "-q", "--hard", "HEAD~1")


@pytest.fixture
def bucket(project: Project) -> Iterator[Any]:
    """A bucket on a small S3 server, whose keys are in the environment of the project."""
    moto = pytest.importorskip("moto.server", reason="needs moto; make cloud installs it")
    boto3 = pytest.importorskip("boto3", reason="needs boto3; make cloud installs it")
    pytest.importorskip("dvc_s3", reason="needs dvc-s3; make cloud installs it")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(project.env)
    project.env |= {
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    keys = {"aws_access_key_id": "me", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    yield boto3.resource("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket="steadyphi")
    project.env = before
    server.stop()


@pytest.mark.cloud
def test_an_adapter_comes_from_s3_and_its_base_is_fetched_again(
    project: Project, bucket: Any, tmp_path: Path
) -> None:
    """As docs/sharing.md says: the base is not stored, and the evaluation is the same on another machine."""
    pipeline = project.folder / "dvc.yaml"
    text = pipeline.read_text()
    for name in ("weights", "model"):
        whole, unstored = (f"    outs:\n      - artifacts/{name}{end}\n" for end in ("", ": {push: false}"))
        assert whole in text
        text = text.replace(whole, unstored)
    pipeline.write_text(text)
    project.params(method="lora", finetune={"lr": 6e-3, "epochs": 1})
    assert project.repro() == ["compose", "finetune", "evaluate@tuned", "publish", "gate"]
    project.run("dvc", "remote", "add", "--default", "store", f"s3://{bucket.name}/project")
    project.run("dvc", "remote", "modify", "store", "endpointurl", bucket.meta.client.meta.endpoint_url)
    project.commit()
    project.run("dvc", "push", "-q")
    stored = {each.key.replace("project/files/md5/", "").replace("/", "") for each in bucket.objects.all()}
    digests = {name: stage["outs"][0]["md5"] for name, stage in project.lock().items()}
    assert {digests["finetune"], digests["evaluate@tuned"]} <= stored
    assert not {digests["fetch"], digests["convert"]} & stored

    clone = Project(tmp_path / "clone", project.env)
    project.run("git", "clone", "-q", str(project.folder), str(clone.folder))
    clone.run("dvc", "pull", "-q", "--allow-missing")
    assert (clone.folder / "artifacts/tuned/adapter_model.safetensors").exists()
    assert not (clone.folder / "artifacts/model").exists()
    assert clone.repro() == ["fetch", "convert"]
    clone.run("dvc", "repro", "-q", "--force", "--single-item", "--no-run-cache", "evaluate@tuned")
    assert clone.lock() == project.lock()
    assert clone.run("git", "status", "--porcelain").stdout == ""
    project.run("git", "reset", "-q", "--hard", "HEAD~1")


def test_three_kills_at_random_moments_change_nothing(project: Project) -> None:
    """`python scripts/kills.py` kills twenty times; here the later stages, which take the longest."""
    tormented = kills.Pipeline(project.folder, project.env)
    seconds = {stage: tormented.seconds(stage) for stage in ("finetune", "evaluate@tuned")}
    assert tormented.digests() == tormented.undisturbed
    assert kills.torment(tormented, seconds, kills=3, seed=1) == []
