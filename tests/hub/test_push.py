"""An exported folder on a Hub: created, committed whole, and every failure in one line without the token."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from steadyphi.cli.main import main
from steadyphi.errors import SteadyPhiError
from steadyphi.hub import push
from tests.hub.loopback_push import Repository, WritableHub, start
from tests.pipeline.loopback_hub import Answer, Faults

TOKEN = "hf_secretsecretsecretsecret"
REPO = "ann/phi-tiny-steady"


@pytest.fixture
def hub(online: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    with start(Faults(token=TOKEN)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # large files go by LFS
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "model-00001-of-00002.safetensors").write_bytes(bytes(range(256)) * 9000)
    (path / "model-00002-of-00002.safetensors").write_bytes(b"second")
    (path / "config.json").write_text("{}")
    (path / "README.md").write_text("---\nlicense: mit\n---\n\n# A model\n")
    return path


@pytest.mark.parametrize("private", [False, True])
def test_all_files_in_one_commit(hub: WritableHub, folder: Path, private: bool) -> None:
    assert push.push(folder, REPO, private) == f"{hub.endpoint}/{REPO}"
    made = hub.repositories[REPO]
    sent = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert made == Repository(private, {".gitattributes": made.files[".gitattributes"], **sent}, commits=1)
    assert len(hub.large) == 2 == len(hub.verified)
    signed = [request for request in hub.requests if request.path.startswith("/storage/")]
    assert len(signed) == 2 and not any(request.authorization for request in signed)


def refused(folder: Path, repo: str = REPO, private: bool = False) -> str:
    with pytest.raises(SteadyPhiError) as caught:
        push.push(folder, repo, private)
    message = str(caught.value)
    assert message.startswith(f"{repo}: ") and "\n" not in message and len(message) < 600
    assert TOKEN not in message
    return message


def test_a_repository_that_exists(hub: WritableHub, folder: Path) -> None:
    hub.repositories[REPO] = Repository(False, {"model.bin": b"years of work"})
    assert "exists already with 1 files; name a new repository" in refused(folder)
    assert hub.repositories[REPO].files == {"model.bin": b"years of work"} and not hub.large
    hub.repositories[REPO] = Repository(False)  # left by an upload that did not finish
    assert "exists already and is public" in refused(folder, private=True)
    push.push(folder, REPO, False)
    assert hub.repositories[REPO].commits == 1


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_wrong", "rejects the token (401); set HF_TOKEN to a valid token that may write"),
        ("", "HF_TOKEN is not set; set it to a token that may write"),
    ],
)
def test_a_wrong_token_and_none(
    hub: WritableHub, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str, message: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    error = refused(folder)
    assert message in error and (not token or token not in error)
    assert not hub.repositories


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/repos/create", 403, "denies access (403); the token may not write to ann/phi-tiny-steady"),
        ("/api/repos/create", 400, "refuses (400): no such plan"),
        ("/info/lfs/objects/batch", 413, "refuses (413)"),
        ("/storage/", 403, "denies access (403)"),
        ("/commit/main", 412, "refuses (412)"),
    ],
)
def test_failures_of_the_server(hub: WritableHub, folder: Path, path: str, status: int, message: str) -> None:
    body = b'{"error": "no such plan"}'
    headers = {"Content-Type": "application/json"}
    hub.faults.answers.append(Answer(path, status, headers, times=99, body=body))
    assert message in refused(folder)
    assert REPO not in hub.repositories or not hub.repositories[REPO].commits
    hub.faults.answers.clear()
    push.push(folder, REPO, False)  # and again
    assert hub.repositories[REPO].commits == 1


def test_responses_that_are_no_hub_s(hub: WritableHub, folder: Path) -> None:
    hub.faults.answers.append(Answer("/preupload/", 200, {"Content-Type": "application/json"}, times=99))
    assert "the upload failed (" in refused(folder)


def test_names_and_offline(hub: WritableHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("phi", "a/b/c", "a/b c", "../x", ""):
        assert "is named owner/name" in refused(folder, name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(folder)
    assert not hub.requests


def test_no_connection(hub: WritableHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "the connection failed (" in refused(folder)


def test_the_command(
    hub: WritableHub,
    lit_tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    arguments = ["export", str(lit_tiny), str(tmp_path / "out"), "--push", REPO]
    main([*arguments, "--private"])
    made = hub.repositories[REPO]
    assert made.private
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(made.files) - {".gitattributes"}
    assert made.files["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()
    printed = capsys.readouterr()
    assert printed.out.endswith(f"{hub.endpoint}/{REPO}\n")
    assert TOKEN not in printed.out + printed.err + caplog.text
    # What the Hub would refuse is known before the export, and a failed upload does not cost the folder.
    for repo, message, exists in (
        (REPO, "exists already", False),
        ("ann/other", "complete; hf upload", True),
    ):
        hub.faults.answers.append(Answer("/commit/main", 412, times=9))
        out = tmp_path / repo.replace("/", "-")
        with pytest.raises(SystemExit) as caught:
            main(["export", str(lit_tiny), str(out), "--push", repo])
        assert message in str(caught.value.code) and out.exists() == exists
    with pytest.raises(SystemExit, match="--private: there is no repository"):
        main(["export", str(lit_tiny), str(tmp_path / "new"), "--private"])
