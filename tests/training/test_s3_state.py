"""A run that is killed on one host goes on on another, through S3: moto's server on the loopback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.training.test_resume import finish, same

pytestmark = [pytest.mark.cloud, pytest.mark.slow]
BUCKET = "states"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment in which s3://states is a bucket of a server on the loopback."""
    pytest.importorskip("s3fs", reason="needs s3fs: make cloud")
    server_module = pytest.importorskip("moto.server", reason="needs moto: make cloud")
    import boto3

    server = server_module.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STEADYPHI_STATE_URL": f"s3://{BUCKET}/runs",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    yield environment
    server.stop()


def start(folder: Path, seconds: float, environment: dict[str, str]) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.training.program", str(folder), "lora", str(seconds)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=pipe, stderr=pipe, text=True
    )


def sent() -> set[str]:
    """Return the names of the states that are whole in the bucket."""
    import boto3

    listed = boto3.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {Path(each["Key"]).parent.name for each in listed if each["Key"].endswith("/record.json")}


def test_another_host_goes_on(s3: dict[str, str], tmp_path: Path) -> None:
    code, _, err = finish(start(tmp_path / "whole", 0.0, {"STEADYPHI_STATE_URL": ""}))
    assert code == 0, err
    first = start(tmp_path / "first", 0.3, {})
    until = time.monotonic() + 120
    while not any(name >= "step-00000003" for name in sent()):
        assert first.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    finish(first)
    known = max(name for name in sent() if name.startswith("step-"))
    code, _, err = finish(start(tmp_path / "second", 0.0, {}))
    assert code == 0, err
    assert f"finetune: received {known} from STEADYPHI_STATE_URL" in err
    same(tmp_path / "second", tmp_path / "whole")
