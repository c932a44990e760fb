"""The columns of the runs table in MLflow's UI, and the link that opens the table with them.

MLflow keeps a shared view as a tag of the experiment, so it can be written without the UI.
"""

import json
from typing import Any

# The measures of an experiment by their key in metrics/summary.json, and their names in MLflow. MLflow shows
# the metrics of one group, the part before the slash, in one section.
MEASURES = {
    "spread_unseen": "spread/tested",
    "spread": "spread/named",
    "accuracy_worst_unseen": "accuracy/tested worst",
    "accuracy_unseen": "accuracy/tested mean",
    "accuracy_worst": "accuracy/named worst",
    "accuracy_mean": "accuracy/named mean",
    "accuracy_best": "accuracy/named best",
    "flip_rate": "answers/flips",
    "right_in_all_formats": "answers/right in all",
}
GATE, TRAIN_LOSS, VALID_LOSS, FORMAT = "gate/passed", "loss/train", "loss/validation", "format/"
SHOWN = {  # columns and their widths in pixels; the names of metrics are long
    "attributes.`Models`": 150,
    "metrics.`spread/tested`": 130,
    "metrics.`accuracy/tested worst`": 190,
    "metrics.`accuracy/tested mean`": 190,
    "metrics.`accuracy/named best`": 190,
    f"metrics.`{GATE}`": 110,
    "params.`model`": 90,
    "params.`method`": 80,
    "params.`data`": 90,
    "params.`finetune.lr`": 100,
    "params.`finetune.epochs`": 130,
}
KEY = "steadyphi"
TAG = f"mlflow.sharedViewState.{KEY}"


def share(client: Any, experiment: Any) -> None:
    """Store the view in the experiment, if it is not there yet."""
    state = json.dumps(
        {
            "searchFilter": "",
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "selectedColumns": list(SHOWN),
            "columnOrder": [],
            "columnWidths": SHOWN,
        }
    )
    if experiment.tags.get(TAG) != state:
        client.set_experiment_tag(experiment.experiment_id, TAG, state)


def link(address: str, experiment_id: str) -> str:
    """Return the link to the runs table with the columns of the view."""
    return f"{address}/#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}"
