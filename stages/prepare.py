"""Stage `prepare`: tokenize the instruction data, and select evaluation items that are not in it."""

import sys
from dataclasses import asdict
from pathlib import Path

from stages import common
from steadyphi.files import sha256, write_json
from steadyphi.settings.schema import Prepare
from steadyphi.tracking.stage_run import StageRun


def main(run: StageRun) -> None:
    """Prepare `artifacts/data` from the data that `artifacts/config/prepare.yaml` names."""
    from steadyphi.data.audit import alarms
    from steadyphi.data.prepare import left_out, prepare
    from steadyphi.data.sources import data_name
    from steadyphi.preview.page import NAME, write_page
    from steadyphi.tokenizer import TextTokenizer

    settings = common.settings("prepare", Prepare)
    run.params(asdict(settings))
    tokenizer = TextTokenizer(common.MODEL)
    metrics = prepare(settings, Path(settings.data_file), tokenizer, common.DATA)
    write_json(common.METRICS / "prepare.json", metrics)
    for line in (*left_out(metrics, settings.context), *alarms(metrics)):
        print(line, file=sys.stderr)
    mixed = [source.name for source in settings.sources]
    write_page(common.DATA, tokenizer, metrics, data_name(settings), mixed)
    run.metrics(metrics)
    run.artifact(common.DATA / NAME)
    for path in sorted(common.DATA.glob("*.parquet")):
        run.output(path.stem, sha256(path))


if __name__ == "__main__":
    common.run_stage("prepare", main)
