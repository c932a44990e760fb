"""Stage `publish`: before and after side by side, and the experiment's row in MLflow."""

import json

from stages import common
from steadyphi.files import atomic_dir, read_csv, write_json
from steadyphi.settings.schema import Publish
from steadyphi.tracking.stage_run import StageRun

STAGES = ("fetch", "convert", "prepare", "finetune", "evaluate-base", "evaluate-tuned")


def main(run: StageRun) -> None:
    """Build `artifacts/report`, `metrics/summary.json` and the experiment's row from the stages' results."""
    from steadyphi import report
    from steadyphi.results import stored

    settings = common.settings("publish", Publish)
    values = {
        name: json.loads((common.METRICS / f"{name}.json").read_text(encoding="utf-8")) for name in STAGES
    }
    base, tuned = (read_csv(common.METRICS / f"evaluate-{which}.csv") for which in ("base", "tuned"))
    choices = settings.settings
    experiment = {key: choices[key] for key in ("model", "data", "method", "suite", "seed")}
    evaluations = [stored.read(common.SCORES / which) for which in ("base", "tuned")]
    found = stored.whole(experiment | {"digest": settings.digest}, evaluations)
    with atomic_dir(common.REPORT) as folder:
        report.draw(base, tuned, folder / "formats.png")
        report.write_page(values, base, tuned, folder / "report.md")
        report.write_report(found, folder)
        write_json(folder / "comparison.json", found["comparison"])
    summary = report.summarize(values["evaluate-base"], values["evaluate-tuned"])
    summary["gate_passed"] = float(found["comparison"]["gate"]["passed"])
    write_json(common.METRICS / "summary.json", summary)
    run.metrics(summary)
    every = {f"{stage}.{key}": value for stage, found in values.items() for key, value in found.items()}
    tables = [common.METRICS / f"{name}.csv" for name in ("finetune", "evaluate-base", "evaluate-tuned")]
    files = [*sorted(common.REPORT.iterdir()), *tables]
    run.summary(settings=settings.settings, metrics={**every, **summary}, artifacts=files)


if __name__ == "__main__":
    common.run_stage("publish", main)
