"""Stage `compose`: params.yaml and conf/ become one resolved file of settings for each stage."""

from dataclasses import asdict
from pathlib import Path

from stages.common import one_at_a_time
from steadyphi.composing import compose, read_params
from steadyphi.config import Settings, digest, stage_files
from steadyphi.files import write_text
from steadyphi.tracking import stage_run


def compose_all(root: Path) -> Settings:
    """Write `artifacts/config/<stage>.yaml` under `root` for every stage, and return the settings.

    Raises SteadyPhiError where fine-tuning could not run here; what is written is the same on any machine.
    """
    settings = compose(read_params(root / "params.yaml"), root / "conf")
    # Not imported above, so that nobody waits for it to hear of a typing error.
    from steadyphi.foresight import foresee

    foresee(settings, root)
    for stage, text in stage_files(settings).items():
        write_text(root / "artifacts" / "config" / f"{stage}.yaml", text)
    return settings


def main() -> None:
    """Compose the settings of the current folder, and record them."""
    settings = compose_all(Path())
    # Recorded afterwards: which row of MLflow the stage belongs to is known only now.
    with stage_run("compose", experiment=settings.publish.experiment, digest=digest(settings)) as run:
        run.params(asdict(settings))


if __name__ == "__main__":
    with one_at_a_time("compose"):
        main()
