"""Stage `prepare`: tokenize the instruction data, and select evaluation items that are not in it."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from stages import common
from steadyphi.files import sha256, write_json
from steadyphi.settings.schema import Prepare
from steadyphi.tracking.stage_run import StageRun

if TYPE_CHECKING:
    from steadyphi.data.taught import Answer

LONGEST_ANSWER = 256  # tokens of an answer of the base; a longer one is not trained on


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
    answer = _base_answers() if settings.answers else None
    metrics = prepare(settings, Path(settings.data_file), tokenizer, common.DATA, answer)
    write_json(common.METRICS / "prepare.json", metrics)
    for line in (*left_out(metrics, settings.context), *alarms(metrics)):
        print(line, file=sys.stderr)
    mixed = [source.name for source in settings.sources]
    write_page(common.DATA, tokenizer, metrics, data_name(settings), mixed)
    run.metrics(metrics)
    run.artifact(common.DATA / NAME)
    for path in sorted(common.DATA.glob("*.parquet")):
        run.output(path.stem, sha256(path))


def _base_answers() -> "Answer":
    """Return the function that asks the base; its answers are kept, so that an interrupted stage goes on."""
    from steadyphi.inference.open_model import open_model
    from steadyphi.runtime.device import make_repeatable, pick_device, pick_dtype

    device = pick_device()
    make_repeatable(0, None, device)
    cache = common.cache("prepare") / "answers.sqlite"
    base = open_model(common.MODEL, None, cache, pick_dtype("auto", device), device, batch_tokens=16384)

    def answer(prompts: Sequence[str], stop: Sequence[str]) -> list[str | None]:
        fitting = [prompt for prompt in prompts if len(base.tokenizer.encode(prompt)) < base.context]
        generated = base.generate(fitting, LONGEST_ANSWER, "answers of the base", stop)
        texts = {prompt: g.text for prompt, g in zip(fitting, generated, strict=True) if g.ended}
        return [texts.get(prompt) for prompt in prompts]

    return answer


if __name__ == "__main__":
    common.run_stage("prepare", main)
