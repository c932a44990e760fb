"""Stage `finetune`: the model trained on the prepared tokens, by LoRA or in full."""

from dataclasses import asdict

from stages import common
from steadyphi.config import Finetune
from steadyphi.files import atomic_dir, sha256, write_csv, write_json
from steadyphi.tracking import StageRun


def main(run: StageRun) -> None:
    """Train `artifacts/model` on `artifacts/data` into `artifacts/tuned`."""
    from steadyphi.data.store import read_examples
    from steadyphi.device import make_repeatable, pick_device, pick_dtype
    from steadyphi.training.adapters import load_for_training, save
    from steadyphi.training.loop import LogRow, fit

    settings = common.settings("finetune", Finetune)
    make_repeatable(settings.seed, settings.threads)
    device = pick_device()
    dtype = pick_dtype(settings.precision, device)
    run.params({**asdict(settings), "device": str(device), "dtype": str(dtype)})
    model = load_for_training(common.MODEL, settings, dtype, device)
    train, valid = (read_examples(common.DATA / f"{name}.parquet") for name in ("train", "valid"))
    curve: list[LogRow] = []

    def on_log(row: LogRow) -> None:
        values = {key: value for key, value in asdict(row).items() if key != "step" and value is not None}
        run.metrics(values, step=row.step)
        curve.append(row)

    steps = fit(model, train, valid, settings, dtype, on_log)
    with atomic_dir(common.TUNED) as folder:
        save(model, common.MODEL, folder, settings)
    validated = [
        {"step": r.step, "lr": r.lr, "train_loss": r.train_loss, "valid_loss": r.valid_loss}
        for r in curve
        if r.valid_loss is not None  # there is one at the last step at least
    ]
    write_csv(common.METRICS / "finetune.csv", validated)
    metrics = {
        "steps": steps,
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "train_loss": round(curve[-1].train_loss, 6),
        "valid_loss": round(validated[-1]["valid_loss"], 6),
    }
    write_json(common.METRICS / "finetune.json", metrics)
    run.metrics(metrics, step=steps)
    run.artifact(common.METRICS / "finetune.csv")
    for path in sorted(common.TUNED.iterdir()):
        run.output(path.name, sha256(path))


if __name__ == "__main__":
    common.run_stage("finetune", main)
