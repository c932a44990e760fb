"""A Slurm of two nodes on this machine, whose daemons end with the context."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
CONF = """
ClusterName=two
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdTimeout=300
KillWait=30
JobRequeue=1
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Return why this machine cannot run the cluster, None if it can."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    absent = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if absent:
        return f"needs Slurm, and there is no {absent[0]}: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "needs root, because slurmd does"


@dataclass
class Cluster:
    """A cluster of the nodes n1 and n2 with two CPUs each; `env`: what its commands need."""

    folder: Path
    env: dict[str, str]

    def run(self, *command: str) -> str:
        """Run a command of Slurm and return its output."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def state(self, job: str) -> str:
        """Return the state of a job, such as PENDING or COMPLETED."""
        words = self.run("scontrol", "show", "job", job).split()
        return next(word.removeprefix("JobState=") for word in words if word.startswith("JobState="))

    def wait(self, job: str, *states: str) -> None:
        """Wait until a job is in one of `states`."""
        until = time.monotonic() + 500
        while (state := self.state(job)) not in states:
            assert time.monotonic() < until and state not in ("FAILED", "TIMEOUT"), (job, state, self.logs())
            time.sleep(0.2)

    def requeue(self, job: str) -> None:
        """Let a running job begin anew, without the two minutes that Slurm waits."""
        self.run("scontrol", "requeue", job)
        self.wait(job, "PENDING")
        time.sleep(2)  # in the same second its nodes would refuse it
        self.run("scontrol", "update", f"jobid={job}", "StartTime=now")

    def steps(self, node: str, job: str) -> int:
        """Return the number of steps of a job that a node has run."""
        log = (self.folder / "log" / f"slurmd-{node}.log").read_text()
        return log.count(f"launch task StepId={job}.")

    def logs(self) -> str:
        """Return the ends of the daemons' logs."""
        return "\n".join(path.read_text()[-1500:] for path in sorted((self.folder / "log").iterdir()))


@contextlib.contextmanager
def started() -> Iterator[Cluster]:
    """Start the daemons and wait for the nodes; on leaving, end all jobs and the daemons."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # munged wants one that others may enter
    try:
        for part in (folder, *(folder / name for name in ("munge", "state", "log"))):
            part.mkdir(exist_ok=True)
            part.chmod(0o755)
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        conf = folder / "slurm.conf"
        conf.write_text(CONF.format(folder=folder, ports=_free_ports(3)))
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "PET_"))}
        path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
        cluster = Cluster(folder, clean | {"SLURM_CONF": str(conf), "PATH": path})
        with contextlib.ExitStack() as daemons:
            for command in _daemons(folder):
                daemons.enter_context(_daemon(command, cluster.env))
            daemons.callback(_end_steps, cluster)
            _wait_for_nodes(cluster)
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _daemons(folder: Path) -> list[list[str]]:
    munge = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    paths = [f"--{option}={folder}/munge/{name}" for option, name in munge.items()]
    slurmd = [["slurmd", "-D", "-N", node] for node in ("n1", "n2")]
    return [["munged", "--foreground", *paths], ["slurmctld", "-D", "-i"], *slurmd]


@contextlib.contextmanager
def _daemon(command: list[str], env: dict[str, str]) -> Iterator[None]:
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, env=env, stdout=silent, stderr=silent, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_steps(cluster: Cluster) -> None:
    """End all jobs. A step's daemon that has lost its node's would stay, and kill what has its numbers."""
    cluster.run("scancel", "--user=root")
    steps = [process for process in psutil.process_iter() if _is_step(process, cluster)]
    for step in psutil.wait_procs(steps, timeout=40)[1]:
        step.kill()


def _is_step(process: psutil.Process, cluster: Cluster) -> bool:
    try:
        logs = str(cluster.folder / "log")
        return process.name() == "slurmstepd" and any(f.path.startswith(logs) for f in process.open_files())
    except psutil.Error:  # it has ended
        return False


def _wait_for_nodes(cluster: Cluster) -> None:
    until = time.monotonic() + 60
    while True:
        done = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%T"], env=cluster.env, capture_output=True, text=True
        )
        if done.stdout.split() == ["idle", "idle"]:
            return
        assert time.monotonic() < until, (done, cluster.logs())
        time.sleep(0.2)
