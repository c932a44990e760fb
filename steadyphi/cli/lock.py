"""dvc.lock: whether the outputs in the workspace belong together."""

from collections.abc import Collection
from pathlib import Path

from steadyphi.files import parse_object, read_bytes

TRAINING = ("fetch", "convert", "prepare", "finetune")
WEIGHTS = ("artifacts/model", "artifacts/tuned")


def outdated(project: Path, stages: Collection[str], inputs: Collection[str] = ()) -> bool:
    """Return whether one of the stages read other outputs of earlier stages than dvc.lock records now.

    Then it has not run since an earlier stage did, and its own outputs do not belong to the newer ones.
    inputs: the outputs to compare; by default all that the stages read. False if there is no dvc.lock.
    """
    path = project / "dvc.lock"
    if not path.is_file():
        return False
    recorded = parse_object(read_bytes(path), path.with_suffix(".yaml"), "DVC's lock file").get("stages", {})
    made = {out["path"]: out.get("md5") for stage in recorded.values() for out in stage.get("outs", ())}
    read = [d for name in stages for d in recorded.get(name, {}).get("deps", ()) if d["path"] in made]
    return any(d.get("md5") != made[d["path"]] for d in read if not inputs or d["path"] in inputs)
