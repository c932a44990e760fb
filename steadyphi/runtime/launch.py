"""Start the processes of a run with torchrun on this machine, or join those that Slurm has started."""

import os
import subprocess
import sys
from collections.abc import MutableMapping

from steadyphi.errors import SteadyPhiError

NPROC = "STEADYPHI_NPROC"


def wanted() -> int:
    """Return the number of processes to start on this machine.

    It is the value of `STEADYPHI_NPROC`: a number, or `auto` for one process per GPU.
    """
    text = os.environ.get(NPROC, "1")
    if text == "auto":
        import torch

        return max(1, torch.cuda.device_count())
    if not text.isdecimal() or int(text) < 1:
        raise SteadyPhiError(f"{NPROC}: should be a number of processes or auto, not {text!r}")
    return int(text)


def launch(module: str) -> None:
    """Run `module` in `wanted()` processes and exit; return at once if this process is to do the work itself.

    torchrun's own settings (`PET_NNODES`, `PET_RDZV_ENDPOINT`, …) configure runs over several machines.
    """
    adopt_slurm(os.environ)
    if "RANK" in os.environ or (wanted() == 1 and "PET_NNODES" not in os.environ):
        return
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # On SIGTERM the processes save their state; by default torchrun kills them after 30 seconds.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")
    alone = [] if "PET_NNODES" in os.environ else ["--standalone"]
    try:
        run.main([*alone, "--nproc-per-node", str(wanted()), "-m", module])
    except ChildFailedError as error:  # each process has already printed its error
        first = min(error.failures.values(), key=lambda failure: failure.timestamp)
        sys.exit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode)
    except SignalException as error:
        sys.exit(128 + error.sigval)
    sys.exit(0)


def adopt_slurm(environment: MutableMapping[str, str]) -> None:
    """Set torchrun's environment variables if `srun` has started several processes."""
    count = environment.get("SLURM_STEP_NUM_TASKS", "1")  # set by srun; a batch script does not have it
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
