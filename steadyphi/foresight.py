"""Whether what was composed can run on this machine: asked before the run, of no effect on its results."""

import os
from pathlib import Path

from steadyphi import launching
from steadyphi.checkpoint import known
from steadyphi.config import Settings
from steadyphi.training import memory, quantized


def foresee(settings: Settings, root: Path) -> None:
    """Print what memory fine-tuning will need, where the model is known before it is fetched.

    root: the folder that file names in settings are relative to. Raises SteadyPhiError where the machine has
    too little memory, or cannot train by this method.
    """
    quantized.check_method(settings.finetune.method)
    if config := known.shape(settings.fetch.source, root):
        machines = os.environ.get("PET_NNODES", "1").partition(":")[0]  # of a range the fewest
        processes = launching.wanted() * (int(machines) if machines.isdecimal() else 1)
        memory.check(config, settings.finetune, ranks=processes)
