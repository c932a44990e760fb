"""Stages `evaluate@base` and `evaluate@tuned`: the items in every format and variant of the suite."""

import sys
from dataclasses import asdict

from stages import common
from steadyphi.files import sha256, write_csv, write_json
from steadyphi.runtime.portable import fix_instructions
from steadyphi.settings.schema import Evaluate
from steadyphi.tracking.stage_run import StageRun


def main(run: StageRun, which: str) -> None:
    """Evaluate the base or the tuned model; write all answers, a table by format and the headline metrics."""
    settings = common.settings("evaluate", Evaluate)
    fix_instructions(settings.precision)  # before anything imports torch
    from steadyphi.data.tables import read_items
    from steadyphi.evaluation.run import run as evaluate
    from steadyphi.inference.language_model import LanguageModel
    from steadyphi.inference.open_model import open_model
    from steadyphi.prompts import own_formats
    from steadyphi.results import headline
    from steadyphi.runtime import ranks
    from steadyphi.runtime.device import make_repeatable, pick_device, pick_dtype

    own_formats.define(settings.prompts)
    device = pick_device()
    make_repeatable(0, settings.threads, device)
    dtype = pick_dtype(settings.precision, device)
    run.params({**asdict(settings), "device": str(device), "dtype": str(dtype)})
    tuned = common.TUNED if which == "tuned" else None
    cache = common.cache("evaluate") / "scores.sqlite"

    def model(bits: int | None = None) -> LanguageModel:
        return open_model(common.MODEL, tuned, cache, dtype, device, settings.batch_tokens, bits)

    items, shots = (read_items(common.DATA / f"{name}.parquet") for name in ("items", "shots"))
    first = ranks.rank() == 0
    with ranks.joined(device):
        outcome = evaluate(which, model(), items, shots, settings, model, analysed=first)
    if outcome is None:
        return  # only the first process analyses and writes
    for note in outcome.result.notes:
        print(f"left out: {note}", file=sys.stderr)
    folder = common.SCORES / which
    outcome.write(folder, items)
    formats = [row for row in outcome.result.variants if row.family == "format"]
    table = [
        {"format": row.name, "accuracy": row.accuracy, "low": row.low, "high": row.high, "seen": row.seen}
        | {"open": row.open.accuracy if row.open else None}
        for row in formats
    ]
    metrics = headline.flat(outcome.result)
    write_csv(common.METRICS / f"evaluate-{which}.csv", table)
    write_json(common.METRICS / f"evaluate-{which}.json", metrics)
    run.metrics(metrics)
    run.metrics({f"accuracy/{row.name}": row.accuracy for row in formats})
    run.artifact(common.METRICS / f"evaluate-{which}.csv")
    run.output("scores", sha256(folder / "scores.parquet"))


if __name__ == "__main__":
    from steadyphi.runtime.launch import launch

    which = sys.argv[1] if len(sys.argv) == 2 else ""
    if which not in ("base", "tuned"):
        sys.exit("error: python -m stages.evaluate takes one word, base or tuned")
    with common.errors_in_a_line("evaluate"):
        launch("stages.evaluate", which)
    common.run_stage(f"evaluate@{which}", lambda run: main(run, which))
