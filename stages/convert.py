"""Stage `convert`: the Hub checkpoint as a lit-gpt one."""

from dataclasses import asdict

from stages import common
from steadyphi.files import atomic_dir, write_json
from steadyphi.settings.schema import Convert
from steadyphi.tracking.stage_run import StageRun


def main(run: StageRun) -> None:
    """Convert `artifacts/weights` into `artifacts/model`."""
    from steadyphi.checkpoint.convert import convert
    from steadyphi.tokenizer import TextTokenizer

    settings = common.settings("convert", Convert)
    run.params(asdict(settings))
    TextTokenizer(common.WEIGHTS)  # checked here, where the checkpoint enters the pipeline
    with atomic_dir(common.MODEL) as folder:
        made = convert(common.WEIGHTS, folder, settings.dtype, check_finite=settings.check_finite)
    metrics = {key: made[key] for key in ("source_tensors", "tensors", "parameters")}
    write_json(common.METRICS / "convert.json", metrics)
    run.metrics(metrics)
    run.output("model", made["digest"])


if __name__ == "__main__":
    common.run_stage("convert", main)
