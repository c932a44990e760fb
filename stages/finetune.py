"""Stage `finetune`: train the model on the prepared tokens, with adapters or in full."""

import itertools
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from stages import common
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_dir, sha256, write_csv, write_json
from steadyphi.runtime.portable import fix_instructions
from steadyphi.settings.schema import Finetune
from steadyphi.tracking.stage_run import StageRun

if TYPE_CHECKING:
    from steadyphi.data.packing import Example
    from steadyphi.tokenizer import TextTokenizer
    from steadyphi.training.history import History, LogRow
    from steadyphi.training.parallel import Objective
    from steadyphi.training.speed import Speed


def main(run: StageRun) -> None:
    """Train `artifacts/model` on `artifacts/data` into `artifacts/tuned`."""
    settings = common.settings("finetune", Finetune)
    fix_instructions(settings.precision)  # before anything imports torch
    from steadyphi.budget import memory
    from steadyphi.budget.spare_memory import room
    from steadyphi.data.tables import read_examples, read_formats
    from steadyphi.model_config import PhiConfig
    from steadyphi.runtime import ranks
    from steadyphi.runtime.device import make_repeatable, pick_device, pick_dtype
    from steadyphi.tokenizer import TextTokenizer
    from steadyphi.training import parallel, run_store
    from steadyphi.training.adapters import load_for_training, save
    from steadyphi.training.interrupts import Stopped
    from steadyphi.training.loop import fit
    from steadyphi.training.plan import efficiency, together
    from steadyphi.training.remote_state import remote_state

    device = pick_device()
    make_repeatable(settings.seed, settings.threads, device)
    dtype = pick_dtype(settings.precision, device)
    world = ranks.world_size()
    run.params({**asdict(settings), "device": str(device), "dtype": str(dtype), "processes": world})
    inputs = [common.DATA / "train.parquet", common.DATA / "valid.parquet", common.MODEL / "manifest.json"]
    train, valid = (read_examples(path) for path in inputs[:2])
    formats = read_formats(inputs[1])
    longest = max(len(example.tokens) for example in itertools.chain(train, valid))
    config, machines = PhiConfig.from_folder(common.MODEL), world // ranks.shards()
    longest *= together(settings)  # because they stay in one micro-batch
    needs = memory.check(config, settings, str(device), world, longest, machines)
    recorder = Recorder(run, TextTokenizer(common.MODEL), valid[: settings.samples], formats)
    digest = run_store.digest(settings, dtype, device, inputs)
    store = run_store.Store(common.cache("finetune") / digest, remote_state(digest), room(*needs))
    with store.held():
        with ranks.joined(device), memory.explained(*needs):
            model = load_for_training(common.MODEL, settings, dtype, device)
            try:
                history = fit(model, train, valid, settings, dtype, recorder, store, save_seconds())
            except Stopped as stopped:
                if ranks.rank() == 0:
                    where = f"saved after step {stopped.step}; dvc repro continues from there"
                    print(f"stopped: finetune, {where}", file=sys.stderr)
                sys.exit(128 + stopped.number)
            weights = parallel.gather({name: p for name, p in model.named_parameters() if p.requires_grad})
        if ranks.rank():
            return  # only the first process writes
        with atomic_dir(common.TUNED) as folder:
            save(weights, common.MODEL, folder, settings)
        trained = sum(weight.numel() for weight in weights.values())
        _report(run, history, settings.keep, trained, efficiency(train, settings))
        store.clear()


class Recorder:
    """A `Watcher` that logs to MLflow: metrics at every step, and sample answers at every validation.

    formats: the names of the validation formats, by rendering.
    """

    def __init__(
        self, run: StageRun, tokenizer: "TextTokenizer", prompts: Sequence["Example"], formats: list[str]
    ) -> None:
        self.run, self.tokenizer, self.prompts, self.formats = run, tokenizer, prompts, formats

    def on_step(self, row: "LogRow", speed: "Speed | None") -> None:
        """Log a step; for steps before a run was resumed, the speed is not known."""
        values = {**asdict(row), **(asdict(speed) if speed else {})}
        del values["step"], values["valid_accuracy"]
        named = zip(self.formats, row.valid_accuracy, strict=False)  # no accuracies between validations
        values |= {f"valid_accuracy/{name}": share for name, share in named}
        self.run.metrics({key: value for key, value in values.items() if value is not None}, step=row.step)

    def on_validation(self, step: int, objective: "Objective") -> None:
        """Log the model's current sample answers."""
        from steadyphi.training.sample_answers import answers

        generated = answers(objective, self.prompts, self.tokenizer.eos_ids, most=32)
        texts = [
            f"{self.tokenizer.decode(example.tokens[: example.prompt])}▸{self.tokenizer.decode(answer)}\n"
            for example, answer in zip(self.prompts, generated, strict=True)
        ]
        if texts:
            self.run.text("\n".join(texts), f"samples/step-{step:06}.txt")


def _report(run: StageRun, history: "History", keep: str, trained: int, packed: float) -> None:
    """Write the loss curve and the headline metrics; the validation loss is that of the kept weights."""
    validated = [row for row in history.rows if row.valid_loss is not None]  # the last step always has one
    curve = [{"step": r.step, "lr": r.lr, "train_loss": r.train_loss, **_validation(r)} for r in validated]
    write_csv(common.METRICS / "finetune.csv", curve)
    best = validated[-1].step if keep == "last" else history.best_step
    train_loss = next(row.train_loss for row in reversed(history.rows) if row.train_loss is not None)
    metrics = {
        "steps": history.step,
        "trained_parameters": trained,
        "train_loss": round(train_loss, 6),
        **_validation(next(row for row in validated if row.step == best)),
        "best_step": history.best_step,
        "skipped_steps": history.skipped,
        "packing_efficiency": round(packed, 6),
    }
    write_json(common.METRICS / "finetune.json", metrics)
    run.metrics(metrics, step=history.step)
    run.artifact(common.METRICS / "finetune.csv")
    for path in sorted(common.TUNED.iterdir()):
        run.output(path.name, sha256(path))


def _validation(row: "LogRow") -> dict[str, float]:
    """Return the loss, and the mean and the worst accuracy over the formats, of a validation."""
    assert row.valid_loss is not None
    return {
        "valid_loss": round(row.valid_loss, 6),
        "valid_accuracy": round(statistics.fmean(row.valid_accuracy), 6),
        "valid_accuracy_worst": round(min(row.valid_accuracy), 6),
    }


def save_seconds() -> float:
    """Return the seconds between two saved states, from `STEADYPHI_SAVE_SECONDS`."""
    text = os.environ.get("STEADYPHI_SAVE_SECONDS", "600")
    if not text.isdecimal():
        raise SteadyPhiError(f"STEADYPHI_SAVE_SECONDS: should be a number of seconds, not {text!r}")
    return float(text)


if __name__ == "__main__":
    from steadyphi.runtime.launch import launch

    with common.errors_in_a_line("finetune"):
        launch("stages.finetune")
    common.run_stage("finetune", main)
