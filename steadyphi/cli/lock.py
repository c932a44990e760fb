"""dvc.lock: whether the outputs in the workspace belong together."""

from collections.abc import Collection
from pathlib import Path

from steadyphi.files import parse_object, read_bytes

TRAINING = ("fetch", "convert", "prepare", "finetune")
WEIGHTS = ("artifacts/model", "artifacts/tuned")


def outdated(project: Path, stages: Collection[str], inputs: Collection[str] = ()) -> bool:
    """Return whether the inputs of any of the stages were written again after it ran.

    dvc.lock then has one digest of the input that the stage read, and another of the output that an earlier
    stage wrote since. False if there is no dvc.lock.
    inputs: the paths to compare; by default all that the stages read.
    """
    path = project / "dvc.lock"
    if not path.is_file():
        return False
    recorded = parse_object(read_bytes(path), path.with_suffix(".yaml"), "DVC's lock file").get("stages", {})
    made = {out["path"]: out.get("md5") for stage in recorded.values() for out in stage.get("outs", ())}
    read = [d for name in stages for d in recorded.get(name, {}).get("deps", ()) if d["path"] in made]
    return any(d.get("md5") != made[d["path"]] for d in read if not inputs or d["path"] in inputs)
