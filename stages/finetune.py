"""Stage `finetune`: train the model on the prepared tokens, with adapters or in full."""

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from stages import common
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_dir, sha256, write_csv, write_json
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
    from steadyphi.budget import memory
    from steadyphi.data.tables import read_examples
    from steadyphi.model_config import PhiConfig
    from steadyphi.runtime import ranks
    from steadyphi.runtime.device import make_repeatable, pick_device, pick_dtype
    from steadyphi.tokenizer import TextTokenizer
    from steadyphi.training import parallel, run_store
    from steadyphi.training.adapters import load_for_training, save
    from steadyphi.training.interrupts import Stopped
    from steadyphi.training.loop import fit
    from steadyphi.training.plan import efficiency

    settings = common.settings("finetune", Finetune)
    make_repeatable(settings.seed, settings.threads)
    device = pick_device()
    dtype = pick_dtype(settings.precision, device)
    world = ranks.world_size()
    run.params({**asdict(settings), "device": str(device), "dtype": str(dtype), "processes": world})
    inputs = [common.DATA / "train.parquet", common.DATA / "valid.parquet", common.MODEL / "manifest.json"]
    train, valid = (read_examples(path) for path in inputs[:2])
    longest = max(len(example.tokens) for example in (*train, *valid))
    needs = memory.check(PhiConfig.from_folder(common.MODEL), settings, str(device), world, longest)
    recorder = Recorder(run, TextTokenizer(common.MODEL), valid[: settings.samples])
    store = run_store.Store(common.cache("finetune") / run_store.digest(settings, dtype, device, inputs))
    with store.held():
        with ranks.joined(), memory.explained(*needs):
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
    """A `Watcher` that logs to MLflow: metrics at every step, and sample answers at every validation."""

    def __init__(self, run: StageRun, tokenizer: "TextTokenizer", prompts: list["Example"]) -> None:
        self.run, self.tokenizer, self.prompts = run, tokenizer, prompts

    def on_step(self, row: "LogRow", speed: "Speed | None") -> None:
        """Log a step; for steps before a run was resumed, the speed is not known."""
        values = {**asdict(row), **(asdict(speed) if speed else {})}
        del values["step"]
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
    validated = [
        {"step": r.step, "lr": r.lr, "train_loss": r.train_loss, "valid_loss": r.valid_loss}
        for r in history.rows
        if r.valid_loss is not None  # the last step always has one
    ]
    write_csv(common.METRICS / "finetune.csv", validated)
    valid_losses = [row.valid_loss for row in history.rows if row.valid_loss is not None]
    train_loss = next(row.train_loss for row in reversed(history.rows) if row.train_loss is not None)
    metrics = {
        "steps": history.step,
        "trained_parameters": trained,
        "train_loss": round(train_loss, 6),
        "valid_loss": round(min(valid_losses) if keep == "best" else valid_losses[-1], 6),
        "best_step": history.best_step,
        "skipped_steps": history.skipped,
        "packing_efficiency": round(packed, 6),
    }
    write_json(common.METRICS / "finetune.json", metrics)
    run.metrics(metrics, step=history.step)
    run.artifact(common.METRICS / "finetune.csv")
    for path in sorted(common.TUNED.iterdir()):
        run.output(path.name, sha256(path))


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
