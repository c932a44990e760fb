"""Stages that are recorded, and the rows that MLflow then has."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from steadyphi.tracking.mlflow_store import tracking_uri
from steadyphi.tracking.published import Published
from steadyphi.tracking.stage_run import stage_run
from tests.conftest import ROOT
from tests.tracking.conftest import DIGEST

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
    listed = api.search_runs([api.get_experiment_by_name("steadyphi").experiment_id])
    children = [run for run in listed if "mlflow.parentRunId" in run.data.tags]
    return [run for run in listed if run not in children], children


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


def summarize(metrics: dict[str, float], root: Path, **settings: Any) -> None:
    (root / "report.md").write_text("report")
    with record("publish", **settings) as run:
        run.summary(published(metrics, root / "report.md"))


def published(metrics: dict[str, float], *artifacts: Path) -> Published:
    return Published(["steadier"], {name: [(0, value)] for name, value in metrics.items()}, artifacts)
