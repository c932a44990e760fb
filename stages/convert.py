"""Stage `convert`: convert the Hub checkpoint to the lit-gpt format."""

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
    if common.WEIGHTS.is_dir():
        TextTokenizer(common.WEIGHTS)  # checked here, where the checkpoint enters the pipeline
    with atomic_dir(common.MODEL) as folder:
        manifest = convert(common.WEIGHTS, folder, settings.dtype, check_finite=settings.check_finite)
    metrics = {key: manifest[key] for key in ("source_tensors", "tensors", "parameters")}
    write_json(common.METRICS / "convert.json", metrics)
    run.metrics(metrics)
    run.output("model", manifest["digest"])


if __name__ == "__main__":
    common.run_stage("convert", main)
