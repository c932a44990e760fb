"""Start the processes of a run: with torchrun on this machine, or with srun inside a batch job of Slurm."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, MutableMapping

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


def planned() -> tuple[int, int]:
    """Return the number of processes that a run will have on each machine, and the number of machines."""
    if tasks := slurm_tasks(os.environ):
        nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", 1))
        return -(-tasks // nodes), nodes
    machines = os.environ.get("PET_NNODES", "1").partition(":")[0]  # the minimum of a range
    return wanted(), int(machines) if machines.isdecimal() else 1


def launch(module: str, *arguments: str) -> None:
    """Run `module` in several processes and exit; return at once if this process is to do the work itself.

    Inside a batch job of several tasks srun starts them, one per task, unless `STEADYPHI_NPROC` is set.
    Otherwise torchrun starts `wanted()` processes; its own settings (`PET_NNODES`, `PET_RDZV_ENDPOINT`, …)
    configure runs over several machines.
    """
    if slurm_tasks(os.environ):
        if "SLURM_CPUS_PER_TASK" in os.environ:  # srun does not read it
            os.environ.setdefault("SRUN_CPUS_PER_TASK", os.environ["SLURM_CPUS_PER_TASK"])
        os.execvp("srun", ["srun", "--kill-on-bad-exit=1", sys.executable, "-m", module, *arguments])
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
        run.main([*alone, "--nproc-per-node", str(wanted()), "-m", module, *arguments])
    except ChildFailedError as error:  # each process has already printed its error
        first = min(error.failures.values(), key=lambda failure: failure.timestamp)
        sys.exit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode)
    except SignalException as error:
        sys.exit(128 + error.sigval)
    sys.exit(0)


def slurm_tasks(environment: Mapping[str, str]) -> int:
    """Return the number of tasks of the batch job that this process runs in, 0 if srun is not to start them.

    That is so outside a job, in a job of one task, in a task that srun has started, and if
    `STEADYPHI_NPROC` asks for torchrun.
    """
    if "SLURM_JOB_ID" not in environment or {"SLURM_STEP_NUM_TASKS", "RANK", NPROC} & environment.keys():
        return 0
    each = environment.get("SLURM_NTASKS_PER_NODE", "1").partition("(")[0]
    count = int(environment.get("SLURM_NTASKS") or int(each) * int(environment.get("SLURM_JOB_NUM_NODES", 1)))
    return count if count > 1 else 0


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
    if found := re.fullmatch(r"(\d+)(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")):
        environment.setdefault("LOCAL_WORLD_SIZE", found[1])  # unless nodes have different numbers of tasks
    environment.setdefault("MASTER_ADDR", head)
    environment.setdefault("MASTER_PORT", str(20000 + int(environment.get("SLURM_JOB_ID", "0")) % 20000))
