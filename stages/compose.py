"""Stage `compose`: resolve params.yaml and conf/ into one settings file per stage."""

from dataclasses import asdict
from pathlib import Path

from stages.common import one_at_a_time, recorded
from steadyphi.files import write_text
from steadyphi.settings.compose import compose, read_params
from steadyphi.settings.files import stage_files
from steadyphi.settings.schema import Settings


def compose_all(root: Path) -> Settings:
    """Write `artifacts/config/<stage>.yaml` under `root` for every stage, and return the settings.

    Raises SteadyPhiError if fine-tuning cannot run on this machine. The files are the same on every machine.
    """
    settings = compose(read_params(root / "params.yaml"), root / "conf")
    check_machine(settings, root)
    for stage, text in stage_files(settings).items():
        write_text(root / "artifacts" / "config" / f"{stage}.yaml", text)
    return settings


def check_machine(settings: Settings, root: Path) -> None:
    """Print the memory that fine-tuning needs, if the model's shape is known before the download.

    root: the folder that paths in the settings are relative to. Raises SteadyPhiError if the machine has too
    little memory, or cannot train with this method.
    """
    # Imported here, so that a wrong setting is reported without waiting for these modules.
    from steadyphi.budget import known_shapes, memory
    from steadyphi.runtime import launch
    from steadyphi.training import quantized

    quantized.check_method(settings.finetune.method)
    if config := known_shapes.shape(settings.fetch.source, root):
        processes, machines = launch.planned()
        replicas = machines if processes > 1 else 1  # as in steadyphi.runtime.ranks.shards
        memory.check(config, settings.finetune, ranks=processes * machines, machines=replicas)


def main() -> None:
    """Compose the settings of the current folder, and record them."""
    settings = compose_all(Path())
    # Recorded last, because the settings determine the MLflow parent run that the stage belongs to.
    with recorded("compose") as run:
        run.params(asdict(settings))


if __name__ == "__main__":
    with one_at_a_time("compose"):
        main()
