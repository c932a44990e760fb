"""Stage `publish`: before and after side by side, and the experiment's row in MLflow."""

import json

from stages import common
from steadyphi.config import Publish
from steadyphi.files import atomic_dir, read_csv, write_json
from steadyphi.tracking import StageRun


def main(run: StageRun) -> None:
    """Build `artifacts/report`, `metrics/summary.json` and the experiment's row from the stages' metrics."""
    from steadyphi.sensitivity import report

    settings = common.settings("publish", Publish)
    values = {
        name: json.loads((common.METRICS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("fetch", "convert", "prepare", "finetune", "evaluate-base", "evaluate-tuned")
    }
    base, tuned = (read_csv(common.METRICS / f"evaluate-{which}.csv") for which in ("base", "tuned"))
    with atomic_dir(common.REPORT) as folder:
        report.draw(base, tuned, folder / "formats.png")
        report.write_page(values, base, tuned, folder / "report.md")
    summary = report.summarize(values["evaluate-base"], values["evaluate-tuned"])
    write_json(common.METRICS / "summary.json", summary)
    run.metrics(summary)
    every = {f"{stage}.{key}": value for stage, found in values.items() for key, value in found.items()}
    tables = [common.METRICS / f"{name}.csv" for name in ("finetune", "evaluate-base", "evaluate-tuned")]
    files = [*sorted(common.REPORT.iterdir()), *tables]
    run.summary(settings=settings.settings, metrics={**every, **summary}, artifacts=files)


if __name__ == "__main__":
    common.run_stage("publish", main)
