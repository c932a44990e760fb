"""Stage `publish`: write the report on both evaluations and the experiment's parent run in MLflow."""

from stages import common
from steadyphi.files import atomic_dir, read_object, write_json
from steadyphi.settings.schema import Publish
from steadyphi.tracking.stage_run import StageRun

STAGES = ("fetch", "convert", "prepare", "finetune", "evaluate-base", "evaluate-tuned")


def main(run: StageRun) -> None:
    """Write `artifacts/report`, `metrics/summary.json` and the MLflow parent run from the stages' results."""
    from steadyphi import report
    from steadyphi.results import headline, stored

    settings = common.settings("publish", Publish)
    values = {name: read_object(common.METRICS / f"{name}.json", "metrics", finite=False) for name in STAGES}
    choices = {key: settings.settings[key] for key in ("model", "data", "method", "suite", "seed")}
    base, tuned = (stored.read(common.SCORES / which) for which in ("base", "tuned"))
    experiment = stored.experiment(choices | {"digest": settings.digest}, [base, tuned])
    assert experiment.comparison  # not None, because there are two results
    with atomic_dir(common.REPORT) as folder:
        report.draw(base.result, tuned.result, folder / "formats.png")
        report.write_page(base.result, tuned.result, folder / "report.md")
        report.write_report(experiment, folder)
        write_json(folder / "comparison.json", stored.to_json(experiment.comparison))
    summary = headline.summarize(values["evaluate-base"], values["evaluate-tuned"])
    summary |= headline.q_values(experiment.comparison.measures)
    summary["gate_passed"] = float(experiment.comparison.gate.passed)
    write_json(common.METRICS / "summary.json", summary)
    run.metrics(summary)
    every = {f"{stage}.{key}": value for stage, metrics in values.items() for key, value in metrics.items()}
    tables = [common.METRICS / f"{name}.csv" for name in ("finetune", "evaluate-base", "evaluate-tuned")]
    files = [*sorted(common.REPORT.iterdir()), *tables]
    run.summary(metrics={**every, **summary}, artifacts=files)


if __name__ == "__main__":
    common.run_stage("publish", main)
