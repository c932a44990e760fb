"""Starting the processes of a run: by torchrun on this machine, or as Slurm has started them."""

import os
import subprocess
import sys
from collections.abc import MutableMapping

from steadyphi.errors import SteadyPhiError

NPROC = "STEADYPHI_NPROC"


def wanted() -> int:
    """Return how many processes a run is to have here: `STEADYPHI_NPROC`, a number, or `auto`: one a GPU."""
    text = os.environ.get(NPROC, "1")
    if text == "auto":
        import torch

        return max(1, torch.cuda.device_count())
    if not text.isdecimal() or int(text) < 1:
        raise SteadyPhiError(f"{NPROC}: should be a number of processes or auto, not {text!r}")
    return int(text)


def launch(module: str) -> None:
    """Run `module` in as many processes as are wanted, and exit; return at once where it is one of them.

    torchrun's own settings (`PET_NNODES`, `PET_RDZV_ENDPOINT`, …) say who else takes part, on other machines.
    """
    adopt_slurm(os.environ)
    if "RANK" in os.environ or (wanted() == 1 and "PET_NNODES" not in os.environ):
        return
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # At SIGTERM they save their state; torchrun would kill them after half a minute.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")
    alone = [] if "PET_NNODES" in os.environ else ["--standalone"]
    try:
        run.main([*alone, "--nproc-per-node", str(wanted()), "-m", module])
    except ChildFailedError as error:  # each process has said in a line of its own what was wrong
        first = min(error.failures.values(), key=lambda failure: failure.timestamp)
        sys.exit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode)
    except SignalException as error:
        sys.exit(128 + error.sigval)
    sys.exit(0)


def adopt_slurm(environment: MutableMapping[str, str]) -> None:
    """Where `srun` has started a process for each GPU, say so in torchrun's words."""
    count = environment.get("SLURM_STEP_NUM_TASKS", "1")  # of srun's step; a batch script has none
    if "RANK" in environment or count == "1":
        return
    if environment.get("SLURM_STEP_NUM_NODES", "1") == "1":
        head = "127.0.0.1"
    else:
        command = ["scontrol", "show", "hostnames", environment["SLURM_STEP_NODELIST"]]
        try:
            head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            raise SteadyPhiError(f"{' '.join(command)}: names no node; set MASTER_ADDR and RANK") from None
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["WORLD_SIZE"] = count
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]
    environment.setdefault("MASTER_ADDR", head)
    environment.setdefault("MASTER_PORT", str(20000 + int(environment.get("SLURM_JOB_ID", "0")) % 20000))
