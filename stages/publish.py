"""Stage `publish`: write the report on both evaluations and the experiment's parent run in MLflow.

python -m stages.publish --pending   sends what MLflow did not take
python -m stages.publish --all       writes the rows of all experiments that git and DVC have
"""

import csv
import hashlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stages import common
from steadyphi.files import atomic_dir, read_object, sha256, write_json
from steadyphi.settings.schema import Publish
from steadyphi.tracking import view
from steadyphi.tracking.published import Curve, Data, Published
from steadyphi.tracking.stage_run import StageRun

if TYPE_CHECKING:
    from steadyphi.results.experiment import Experiment

STAGES = ("fetch", "convert", "prepare", "finetune", "evaluate-base", "evaluate-tuned")
PICTURE = "formats.png"


def main(run: StageRun) -> None:
    """Write `artifacts/report`, `metrics/summary.json` and the MLflow parent run from the stages' results."""
    from steadyphi import report
    from steadyphi.results import headline, stored

    settings = common.settings("publish", Publish)
    values = {name: read_metrics(name) for name in STAGES}
    choices = {key: settings.settings[key] for key in ("model", "data", "method", "suite", "seed")}
    base, tuned = (stored.read(common.SCORES / which) for which in ("base", "tuned"))
    experiment = stored.experiment(choices | {"digest": settings.digest}, [base, tuned])
    assert experiment.comparison  # not None, because there are two results
    with atomic_dir(common.REPORT) as folder:
        report.draw(base.result, tuned.result, folder / PICTURE)
        report.write_page(base.result, tuned.result, folder / "report.md")
        report.write_report(experiment, folder)
        write_json(folder / "comparison.json", stored.to_json(experiment.comparison))
    summary = headline.summarize(values["evaluate-base"], values["evaluate-tuned"])
    summary |= headline.q_values(experiment.comparison.measures)
    summary["gate_passed"] = float(experiment.comparison.gate.passed)
    write_json(common.METRICS / "summary.json", summary)
    run.metrics(summary)
    shown = row(settings, experiment)
    run.summary(shown)
    if settings.register:
        from stages.register import register

        gate = experiment.comparison.gate
        register(run, settings, tuned, gate.passed, gate.reasons, shown)


def read_metrics(name: str) -> dict[str, Any]:
    """Return the metrics of a stage."""
    return read_object(common.METRICS / f"{name}.json", "metrics", finite=False)


def row(settings: Publish, experiment: "Experiment") -> Published:
    """Return what the row of an experiment shows, from its results, report and metrics on disk."""
    from steadyphi.report import verdict

    choices = settings.settings
    tables = [common.METRICS / f"{name}.csv" for name in ("finetune", "evaluate-base", "evaluate-tuned")]
    return Published(
        sentences=[verdict.sentence(experiment), *verdict.alarms(experiment)],
        metrics=curves(experiment, read_metrics("summary"), int(read_metrics("finetune")["steps"])),
        artifacts=[*sorted(common.REPORT.iterdir()), *tables],
        picture=PICTURE,
        data=data_sets(choices, read_metrics("prepare")),
        model="-".join(str(choices[key]) for key in ("model", "method", "data")),
        model_tags={
            "folder": str(common.TUNED),
            "steadyphi.digest": settings.digest,
            **(weights() if settings.register else {}),
        },
    )


def weights() -> dict[str, str]:
    """Return the digest of the fine-tuned weights, as a tag; nothing if they are not here."""
    files = sorted(common.TUNED.iterdir()) if common.TUNED.is_dir() else []
    digests = "".join(f"{path.name} {sha256(path)}\n" for path in files)
    return {"weights": hashlib.sha256(digests.encode()).hexdigest()} if files else {}


def curves(experiment: "Experiment", summary: Mapping[str, float], steps: int) -> dict[str, Curve]:
    """Return what the parent run shows, over the steps of fine-tuning: step 0 is the base model."""
    shown: dict[str, Curve] = {}
    for key, name in view.MEASURES.items():
        if f"{key}_tuned" in summary:
            shown[name] = [(0, summary[f"{key}_base"]), (max(steps, 1), summary[f"{key}_tuned"])]
    shown[view.GATE] = [(0, summary["gate_passed"])]
    with (common.METRICS / "finetune.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, column in ((view.TRAIN_LOSS, "train_loss"), (view.VALID_LOSS, "valid_loss")):
        shown[name] = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
    for step, result in zip((0, max(steps, 1)), experiment.runs, strict=True):
        for row in result.variants:
            if row.family == "format":
                name = view.FORMAT + row.name
                shown[name] = [*shown.get(name, ()), (step, row.accuracy)]
    return shown


def data_sets(settings: Mapping[str, Any], counts: Mapping[str, float]) -> list[Data]:
    """Return the data sets of training and evaluation, by the digests of the prepared files."""
    prepare = settings["prepare"]
    kinds = (
        ("training", "train", settings["data"], prepare["data_file"], "train_"),
        ("evaluation", "items", settings["task"], prepare["task_file"], "items"),
    )
    return [
        Data(
            str(name),
            context,
            sha256(common.DATA / f"{file}.parquet"),
            str(source),
            {key: value for key, value in counts.items() if key.startswith(prefix)},
        )
        for context, file, name, source, prefix in kinds
        if (common.DATA / f"{file}.parquet").is_file()  # absent where DVC took all stages from its cache
    ]


if __name__ == "__main__":
    if sys.argv[1:]:
        from stages.rebuild import command

        command(sys.argv[1:])
    else:
        common.run_stage("publish", main)
