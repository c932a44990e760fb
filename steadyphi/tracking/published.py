"""The row of a published experiment in MLflow: description, curves, data sets, model and artifacts.

The functions here may raise MLflow's exceptions. Repeating a call with the same content changes nothing.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from steadyphi.tracking.values import allowed_name, finite, same

NOTE = "mlflow.note.content"
CONTEXT = "mlflow.data.context"
FORBIDDEN = re.compile(r"[/:.%\"']")  # in the name of a logged model
Curve = Sequence[tuple[int, float]]  # steps and values


@dataclass(frozen=True)
class Data:
    """A data set that an experiment reads. context: training or evaluation. counts: its numbers of rows."""

    name: str
    context: str
    digest: str
    source: str
    counts: Mapping[str, float]


@dataclass(frozen=True)
class Published:
    """What the row shows.

    sentences: the verdict. picture: the name of the artifact that the description shows below it.
    metrics: a curve by metric; a number is a curve of one step.
    model: the name of the fine-tuned model. model_tags: where it is and what it contains.
    """

    sentences: Sequence[str]
    metrics: Mapping[str, Curve]
    artifacts: Sequence[Path]
    picture: str = ""
    data: Sequence[Data] = ()
    model: str = ""
    model_tags: Mapping[str, str] = field(default_factory=dict)


def to_json(content: Published) -> dict[str, Any]:
    """Return the content as plain values, without the artifacts."""
    return {key: value for key, value in asdict(content).items() if key != "artifacts"}


def write(client: Any, run: Any, content: Mapping[str, Any]) -> None:
    """Write content, as `to_json` returns it, to a run."""
    known = Published(**{**content, "data": [Data(**each) for each in content["data"]]}, artifacts=())
    run_id = run.info.run_id
    _log_curves(client, run_id, known.metrics)
    _log_data(client, run_id, known.data)
    if known.model:
        log_model(client, run, known.model, known.model_tags)
    client.set_tag(run_id, NOTE, description(run_id, known))


def description(run_id: str, content: Published) -> str:
    """Return the description of the run in Markdown. MLflow's UI serves the artifacts of a run itself."""
    parts = [*content.sentences]
    if content.picture:
        parts.append(f"![{content.picture}](get-artifact?path={content.picture}&run_uuid={run_id})")
    return "\n\n".join(parts)


def _log_curves(client: Any, run_id: str, curves: Mapping[str, Curve]) -> None:
    """Log the points that the run lacks. A changed value is logged beside the old one, which it replaces."""
    from mlflow.entities import Metric

    now, new = int(time.time() * 1000), []
    known = client.get_run(run_id).data.metrics
    for name, curve in curves.items():
        key = allowed_name(name)
        history = client.get_metric_history(run_id, key) if key in known else []
        points = {point.step: point.value for point in sorted(history, key=lambda point: point.timestamp)}
        values = {step: finite(value) for step, value in curve}
        new += [Metric(key, v, now, step) for step, v in values.items() if not same(points.get(step), v)]
    for i in range(0, len(new), 1000):
        client.log_batch(run_id, metrics=new[i : i + 1000])


def _log_data(client: Any, run_id: str, data: Sequence[Data]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(
                each.name,
                each.digest[:8],  # MLflow allows 36 characters, and shows them all
                "local",
                json.dumps({"uri": each.source}),
                profile=json.dumps(dict(each.counts)),
            ),
            [InputTag(CONTEXT, each.context)],
        )
        for each in data
    ]
    if inputs:
        client.log_inputs(run_id, datasets=inputs)


def log_model(client: Any, run: Any, name: str, tags: Mapping[str, str]) -> str:
    """Log the model by name and tags, once for the same tags, and return its id.

    Its weights are DVC's, and they are not copied. MLflow forbids some characters in the name, such as the
    dot of phi-1.5.
    """
    from mlflow.entities import LoggedModelOutput

    for output in (run.outputs and run.outputs.model_outputs) or ():
        model = client.get_logged_model(output.model_id)
        if tags.items() <= model.tags.items():
            return str(model.model_id)
    allowed = FORBIDDEN.sub("_", name)
    made = client.create_logged_model(run.info.experiment_id, allowed, run.info.run_id, dict(tags))
    client.finalize_logged_model(made.model_id, "READY")
    client.log_outputs(run.info.run_id, [LoggedModelOutput(made.model_id, step=0)])
    return str(made.model_id)
