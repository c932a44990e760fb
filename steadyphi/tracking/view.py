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
    "accuracy_worst_unseen": "worst/tested",
    "accuracy_unseen": "mean/tested",
    "accuracy_worst": "worst/named",
    "accuracy_mean": "mean/named",
    "accuracy_best": "best/named",
    "flip_rate": "answers/flips",
    "right_in_all_formats": "answers/right in all",
}
GATE, TRAIN_LOSS, VALID_LOSS, FORMAT = "gate/passed", "loss/train", "loss/validation", "format/"
SHOWN = (
    "attributes.`Models`",
    *(f"metrics.`{name}`" for name in ("spread/tested", "worst/tested", "mean/tested", "best/named", GATE)),
    *(f"params.`{name}`" for name in ("model", "method", "data", "finetune.lr", "finetune.epochs")),
)
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
            "columnWidths": {},
        }
    )
    if experiment.tags.get(TAG) != state:
        client.set_experiment_tag(experiment.experiment_id, TAG, state)


def link(address: str, experiment_id: str) -> str:
    """Return the link to the runs table with the columns of the view."""
    return f"{address}/#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}"
