"""make ui: the command that serves the UI, or one line that says why there is none."""

import http.server
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyphi.tracking.stage_run import KEPT
from steadyphi.tracking.ui import command
from tests.conftest import ROOT
from tests.tracking.conftest import isolate
from tests.tracking.rows import client, record


def refusal(port: str) -> str:
    with pytest.raises(SystemExit) as caught:
        command(port)
    text = str(caught.value.code)
    assert len(text.splitlines()) == 1
    return text


@pytest.fixture
def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def make_out_of_date(database: Path) -> None:
    """Give a database the version of an older schema, which is what MLflow checks."""
    with sqlite3.connect(database) as connection:
        connection.execute("update alembic_version set version_num = '451aebb31d03'")
    connection.close()


def test_a_taken_port_and_no_port(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = refusal(str(port))
    assert text.startswith(f"error: port {port} of 127.0.0.1: Address already in use; run make ui PORT=")
    assert text.endswith(f"open http://127.0.0.1:{port}")
    for port in ("", "five", "0", "70000"):
        assert refusal(port) == f"error: PORT should be a number from 1 to 65535, not {port!r}"


def test_beside_a_tracking_server(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:pw@127.0.0.1:9")
    text = refusal("5000")
    assert text == "error: the runs are on the tracking server http://***@127.0.0.1:9; open it in a browser"


def test_an_out_of_date_database(root: Path, free_port: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_out_of_date(root / "mlflow.db")
    uri = f"sqlite:///{root}/mlflow.db"
    problem = (
        f"{uri} was written by another version of MLflow; back it up and run python -m mlflow db upgrade "
        f"'{uri}', or move it away if a newer version wrote it"
    )
    assert refusal(free_port) == f"error: MLflow: {problem}"
    with record() as run:
        run.metrics({"loss": 0.5})
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"warning: MLflow: {problem}; {KEPT}"


@pytest.fixture
def forbidding() -> Iterator[str]:
    """A tracking server that lets nobody in."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_that_wants_a_login(
    root: Path,
    forbidding: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", forbidding)
    with record() as run:
        run.metrics({"loss": 0.5})
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"warning: MLflow: {forbidding} refuses access (401); set MLFLOW_TRACKING_USERNAME and "
        f"MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; {KEPT}"
    )


def until_it_answers(url: str, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until the server answers; False if its process ends."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            time.sleep(0.2)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a folder", "what?"])
def test_the_ui_answers(
    template: Path,
    tmp_path: Path,
    name: str,
    free_port: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(template, folder)
    isolate(monkeypatch, folder)
    arguments = [sys.executable, "-m", "steadyphi.tracking.ui", free_port]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(arguments, cwd=folder, env=environment, start_new_session=True, **silent)
    try:
        assert until_it_answers(f"http://127.0.0.1:{free_port}/health", process)
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


@pytest.mark.slow
def test_a_server_whose_artifact_store_cannot_be_written(
    root: Path,
    tmp_path: Path,
    free_port: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`mlflow server --default-artifact-root` names a folder that the client cannot write."""
    (tmp_path / "curve.csv").write_text("step\n1\n")
    store = [
        "--backend-store-uri",
        f"sqlite:///{root}/mlflow.db",
        "--default-artifact-root",
        "/proc/artifacts",
    ]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", free_port, *store],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{free_port}"
        assert until_it_answers(f"{url}/health", server)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        with record() as run:
            run.params({"lr": 0.1})
            run.artifact(tmp_path / "curve.csv")
            for step in range(3):
                run.metrics({"loss": 0.5 - step / 10}, step=step)
            run.text("an answer", "samples/1.txt")
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("warning: MLflow: the artifact store /proc/artifacts/"), line
        api = client()
        runs = api.search_runs([api.get_experiment_by_name("steadyphi").experiment_id])
        (child,) = [run for run in runs if "dvc.stage" in run.data.tags]
        assert (child.info.status, child.data.params["lr"]) == ("FINISHED", "0.1")
        losses = [point.value for point in api.get_metric_history(child.info.run_id, "loss")]
        assert losses == pytest.approx([0.5, 0.4, 0.3])
    finally:
        os.killpg(server.pid, 9)
        server.wait()
