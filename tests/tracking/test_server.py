"""A shared MLflow server with PostgreSQL and S3: killed and started again while experiments run.

The server has the credentials of the database and of S3. The experiments know its address only.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.cloud, pytest.mark.timeout(280)]
SECRET = "not-for-clients-123"
EXPERIMENT = """
import sys, time
from pathlib import Path
from steadyphi.tracking.published import Published
from steadyphi.tracking.stage_run import stage_run
number = sys.argv[1]
curve = Path(f"curve-{number}.csv")
curve.write_text(number)
with stage_run("finetune", experiment="steadyphi", digest=number * 12, settings={"seed": number},
               title="experiment " + number) as run:
    for step in range(40):
        run.metrics({"loss": 1 / (1 + step)}, step=step)
        run._flush()
        if step == 20:
            print("ready", flush=True)
            while not Path("killed").exists():
                time.sleep(0.1)
    run.artifact(curve)
    run.summary(Published(["steadier"], {"spread": [(0, 0.5), (40, 0.25)]}, [curve]))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URI of a new PostgreSQL database. PostgreSQL refuses to run as root."""
    pytest.importorskip("psycopg2", reason="needs psycopg2; make cloud installs it")
    programs = [shutil.which(name) for name in ("initdb", "postgres")]
    if not all(programs):
        pytest.skip("needs PostgreSQL: apt-get install postgresql, and its bin folder on PATH")
    initdb, server = map(str, programs)
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "nobody")
    data, port = folder / "data", free_port()
    quick = ["-c", "fsync=off", "-c", f"unix_socket_directories={folder}"]
    (password := folder / "password").write_text(SECRET)
    password.chmod(0o644)
    auth = ["-A", "scram-sha-256", "--pwfile", str(password)]
    subprocess.run([initdb, "-D", data, "-U", "me", *auth], check=True, capture_output=True, **user)
    command = [server, "-D", data, "-h", "127.0.0.1", "-p", str(port), *quick]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **user)
    try:
        until(lambda: socket.create_connection(("127.0.0.1", port)).close())
        yield f"postgresql+psycopg2://me:{SECRET}@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def until(attempt: object, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            attempt()  # type: ignore[operator]
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@dataclass
class Server:
    """An MLflow server that can be killed and started again."""

    command: list[str]
    env: dict[str, str]
    url: str
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: urllib.request.urlopen(f"{self.url}/health", timeout=5).close())

    def kill(self) -> None:
        assert self.process
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(postgres: str, tmp_path: Path) -> Iterator[Server]:
    moto = pytest.importorskip("moto.server", reason="needs moto; make cloud installs it")
    boto3 = pytest.importorskip("boto3", reason="needs boto3; make cloud installs it")
    s3 = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3.start()
    host, s3_port = s3.get_host_and_port()
    endpoint = f"http://{host}:{s3_port}"
    keys = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    names = dict(zip(keys, ("aws_access_key_id", "aws_secret_access_key", "region_name"), strict=True))
    client = boto3.client("s3", endpoint_url=endpoint, **{names[k]: v for k, v in keys.items()})
    client.create_bucket(Bucket="artifacts")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--artifacts-destination", "s3://artifacts", "--workers", "1"]
    env = os.environ | keys | {"MLFLOW_S3_ENDPOINT_URL": endpoint, "MLFLOW_BACKEND_STORE_URI": postgres}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # a dozen processes that tracking does not use
    made = Server(command, env, f"http://127.0.0.1:{port}", tmp_path / "server.log")
    made.start()
    try:
        yield made
        keys = [each["Key"] for each in client.list_objects_v2(Bucket="artifacts").get("Contents", ())]
        assert len([key for key in keys if key.endswith(".csv")]) == 6  # of a stage and of a row, three times
    finally:
        made.kill()
        s3.stop()


def test_three_experiments_survive_a_killed_server(server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    root = tmp_path / "repository"
    root.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "AWS_", "MLFLOW_"))}
    env |= {"PYTHONPATH": str(ROOT), "DVC_ROOT": str(root), "MLFLOW_TRACKING_URI": server.url}
    env |= {"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", EXPERIMENT, number],
            cwd=root,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in "123"
    ]
    for process in running:
        assert process.stdout and process.stdout.readline() == "ready\n"
    server.kill()
    (root / "killed").touch()
    outputs = [process.communicate(timeout=200) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert all("it is kept in .cache/mlflow" in errors for _, errors in outputs)
    kept = [path for path in (root / ".cache").rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if SECRET.encode() in path.read_bytes()]

    server.start()
    command = [sys.executable, "-m", "stages.publish", "--pending"]
    sent = subprocess.run(
        command, cwd=root, env=env, capture_output=True, text=True, timeout=200, check=False
    )
    assert sent.returncode == 0, sent.stderr
    assert sorted(re.findall(r"sent: finetune · experiment (\d)", sent.stdout)) == ["1", "2", "3"]
    client = MlflowClient(server.url)
    experiment = client.get_experiment_by_name("steadyphi")
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == 3 and len(runs) == 6 and {run.info.status for run in runs} == {"FINISHED"}
    for run in children:
        points = client.get_metric_history(run.info.run_id, "loss")
        assert [p.value for p in sorted(points, key=lambda p: p.step)] == [1 / (1 + n) for n in range(40)]
        assert [file.path for file in client.list_artifacts(run.info.run_id)] != []
    for run in set(runs) - set(children):
        assert run.data.metrics["spread"] == 0.25
    assert SECRET not in "".join(str(run.to_dictionary()) for run in runs)
    assert SECRET not in "".join(str(text) for text in outputs) + sent.stdout + sent.stderr
