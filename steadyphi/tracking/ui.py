"""`make ui`: the UI of MLflow on the runs of this repository. PORT is its port on 127.0.0.1.

python -m steadyphi.tracking.ui PORT
"""

import os
import socket
import sys
from typing import Any

from filelock import FileLock

from steadyphi.errors import mask
from steadyphi.tracking import mlflow_store as store
from steadyphi.tracking import view

HOST = "127.0.0.1"


def command(port: str) -> list[str]:
    """Return the command that serves the UI. Exits with one line if it cannot be served."""
    uri = store.tracking_uri()
    if uri.startswith(("http:", "https:")):
        sys.exit(f"error: the runs are on the tracking server {mask(uri)}; open it in a browser")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        sys.exit(f"error: PORT should be a number from 1 to 65535, not {port!r}")
    try:
        socket.create_server((HOST, int(port))).close()
    except OSError as error:
        other = f"run make ui PORT={int(port) % 65535 + 1}"
        open_it = f"if it is the UI that runs there already, open http://{HOST}:{port}"
        sys.exit(f"error: port {port} of {HOST}: {os.strerror(error.errno or 0)}; {other}, or, {open_it}")
    try:
        with FileLock(store.lock(), timeout=store.LOCK_SECONDS):
            client = store.open_client()
            addresses = [_address(client, each, port) for each in client.search_experiments()]
    except Exception as error:  # the library below MLflow depends on the store
        sys.exit(f"error: MLflow: {store.reason(error)}")
    for address in filter(None, addresses):
        print(f"the experiments, with the columns that matter: {address}", flush=True)
    return [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", port, "--backend-store-uri", uri]


def _address(client: Any, experiment: Any, port: str) -> str | None:
    """Return the link to the runs of an experiment, with the columns of our view; None if it has no runs."""
    if not client.search_runs([experiment.experiment_id], max_results=1):
        return None
    view.share(client, experiment)
    return view.link(f"http://{HOST}:{port}", experiment.experiment_id)


if __name__ == "__main__":
    words = command(sys.argv[1] if len(sys.argv) == 2 else "")
    os.execv(words[0], words)
