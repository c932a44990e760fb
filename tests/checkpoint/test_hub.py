"""Fetch through huggingface_hub from a Hub on the loopback: pinned, verified, errors in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from steadyphi.checkpoint import manifest
from steadyphi.files import sha256
from tests.conftest import make_hub_folder
from tests.pipeline.loopback_hub import serve

REPO, COMMIT = "microsoft/phi-2", "ef382358ec9e382308935a992d908de099b64c23"
# In a process of its own, for huggingface_hub reads HF_ENDPOINT when it is imported.
SCRIPT = """
import sys
from pathlib import Path
from steadyphi.checkpoint import hub, manifest
from steadyphi.errors import SteadyPhiError
into = Path(sys.argv[2]); into.mkdir(exist_ok=True)
try:
    manifest.write(into, hub.fetch(sys.argv[1], sys.argv[3], into, Path(sys.argv[4])))
except SteadyPhiError as error:
    sys.exit(f"error: {error}")
"""


def fetch(endpoint: str, tmp_path: Path, repo: str = REPO) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    arguments = [repo, str(tmp_path / "weights"), COMMIT, str(tmp_path / "cache")]
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env=env, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    make_hub_folder(tmp_path / "hub")
    (tmp_path / "hub" / "modeling_phi.py").write_text("raise SystemExit")
    (tmp_path / "hub" / "pytorch_model.bin").write_bytes(b"pickle")
    (tmp_path / "hub" / "onnx").mkdir()  # another format, gigabytes that nobody needs
    (tmp_path / "hub" / "onnx" / "model.safetensors").write_bytes(b"other")
    return tmp_path / "hub"


def test_the_files_that_are_needed_arrive_whole(hub_folder: Path, tmp_path: Path) -> None:
    with serve(hub_folder, (REPO, COMMIT)) as endpoint:
        done = fetch(endpoint, tmp_path)
    assert done.returncode == 0, done.stderr
    arrived = {p.name for p in (tmp_path / "weights").iterdir()}
    assert arrived == {p.name for p in hub_folder.iterdir()} - {
        "modeling_phi.py",
        "pytorch_model.bin",
        "onnx",
    } | {manifest.NAME}
    found = manifest.read(tmp_path / "weights")
    assert (found["source"], found["revision"]) == (REPO, COMMIT)
    for name, facts in found["files"].items():
        assert facts["sha256"] == sha256(hub_folder / name)


def test_a_file_that_is_not_the_listed_one_is_refused(hub_folder: Path, tmp_path: Path) -> None:
    shard = sorted(p.name for p in hub_folder.glob("*.safetensors"))[0]
    with serve(hub_folder, (REPO, COMMIT), wrong=shard) as endpoint:
        done = fetch(endpoint, tmp_path)
    assert done.returncode == 1
    assert shard in done.stderr.splitlines()[-1] and "SHA-256 differs" in done.stderr


@pytest.mark.parametrize("repo", ["microsoft/phi-9", REPO])
def test_no_such_repository_or_no_hub_at_all(hub_folder: Path, tmp_path: Path, repo: str) -> None:
    with serve(hub_folder, (REPO, COMMIT)) as endpoint:
        if repo != REPO:
            done = fetch(endpoint, tmp_path, repo)
    if repo == REPO:  # the server is gone by now
        done = fetch(endpoint, tmp_path, repo)
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and f"{repo} at {COMMIT}: could not be fetched" in error[0]
    assert "Traceback" not in done.stderr
