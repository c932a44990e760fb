"""The view that `make ui` opens: its columns are the names that `publish` logs."""

import json
from pathlib import Path

from steadyphi.tracking import view
from steadyphi.tracking.ui import _address
from tests.conftest import ROOT
from tests.tracking.rows import client, published, record


def test_the_columns_are_metrics_of_the_summary() -> None:
    summary = json.loads((ROOT / "metrics" / "summary.json").read_text())
    assert all(f"{key}_{run}" in summary for key in view.MEASURES for run in ("base", "tuned"))
    shown = {name.split("`")[1] for name in view.SHOWN if name.startswith("metrics.")}
    assert shown <= {*view.MEASURES.values(), view.GATE}


def test_the_link_names_a_view_that_the_experiment_has(root: Path) -> None:
    with record("publish") as run:
        run.summary(published({"spread/tested": 0.5}))
    api = client()
    experiment = api.get_experiment_by_name("steadyphi")
    link = _address(api, experiment, "5000")
    number = experiment.experiment_id
    assert link == f"http://127.0.0.1:5000/#/experiments/{number}/runs?viewStateShareKey=steadyphi"
    state = json.loads(api.get_experiment(number).tags["mlflow.sharedViewState.steadyphi"])
    assert state["selectedColumns"] == list(view.SHOWN)
