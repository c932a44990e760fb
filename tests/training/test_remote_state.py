"""States that outlive the machine: saved on one host, fetched on another, by a URL of fsspec."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError
from steadyphi.training.remote_state import RECORD, URL, RemoteState, remote_state
from steadyphi.training.run_store import Store


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and a store of objects that knows no folders without files."""
    return f"file://{tmp_path}/remote/run" if request.param == "file" else f"memory://{tmp_path.name}/run"


def tensors(value: float) -> dict[str, Tensor]:
    return {"weight/a": torch.full((3, 2), float(value)), "exp_avg/a": torch.full((3, 2), -float(value))}


def names(url: str) -> set[str]:
    remote = RemoteState(url)
    return set(remote._states())


def test_another_machine_goes_on(url: str, tmp_path: Path) -> None:
    here = Store(tmp_path / "here", RemoteState(url))
    with here.held():
        assert here.record() is None
        here.save(1, tensors(1), {"step": 1}, 0)
        here.save_best(2, tensors(2))
        here.save(3, tensors(3), {"step": 3}, 2)
    assert names(url) == {"step-00000003", "best-00000002"}
    there = Store(tmp_path / "there", RemoteState(url))
    with there.held():
        assert there.record() == {"step": 3}
        read = tensors(0)
        there.load(read)
        assert all(torch.equal(read[name], value) for name, value in tensors(3).items())
        there.load_best(2, read)
        assert torch.equal(read["weight/a"], tensors(2)["weight/a"])
        there.save(4, tensors(4), {"step": 4}, 2)
    with here.held():
        assert here.record() == {"step": 4}  # which is newer than its own
    there.clear()
    assert names(url) == set()


def test_a_state_that_was_not_sent_whole_is_not_fetched(url: str, tmp_path: Path) -> None:
    here = Store(tmp_path / "here", RemoteState(url))
    here.folder.mkdir()
    here.save(1, tensors(1), {"step": 1}, 0)
    here.wait()
    remote = RemoteState(url)
    remote.files.makedirs(f"{remote.root}/step-00000002", exist_ok=True)
    remote.files.pipe_file(f"{remote.root}/step-00000002/.metadata", b"half")
    there = Store(tmp_path / "there", remote)
    with there.held():
        assert there.record() == {"step": 1}


def test_clearing_is_silent_where_nothing_was_sent(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run may end before its first state is due."""
    Store(tmp_path / "here", RemoteState(url)).clear()
    assert capsys.readouterr().err == ""


def test_names_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    remote = RemoteState("memory://elsewhere/run")
    for name in (RECORD, "a b"):
        remote.files.pipe_file(f"{remote.root}/step-00000001/{name}", b"{}")
    with pytest.raises(SteadyPhiError, match=f"{URL}: .*a b is not the name of a state's file"):
        remote.fetch(tmp_path)
    assert not list(tmp_path.glob("step-*"))


def test_a_failure_to_send_does_not_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").write_text("a file where the folder should be")
    store = Store(tmp_path / "here", RemoteState(f"file://{tmp_path}/full/run"))
    store.folder.mkdir()
    store.save(1, tensors(1), {"step": 1}, 0)
    assert store.record() == {"step": 1}
    assert capsys.readouterr().err.startswith(f"warning: {URL}: step-00000001 was not sent: ")


def test_the_url_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL, raising=False)
    assert remote_state("0a") is None
    monkeypatch.setenv(URL, "memory://bucket/")
    state = remote_state("0a")
    assert state and state.root == "/bucket/0a"
    monkeypatch.setenv(URL, "abacus://bucket")
    with pytest.raises(SteadyPhiError, match=f"{URL}: abacus://bucket/0a: "):
        remote_state("0a")


def test_no_line_has_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither from the URL nor from the reason that a file system gives."""
    monkeypatch.setenv(URL, "abacus://me:secret@host")
    with pytest.raises(SteadyPhiError, match=r"abacus://\*\*\*@host/0a: ") as error:
        remote_state("0a")
    remote = RemoteState("memory://me:secret@host/run")

    def fail(*_: object, **__: object) -> None:
        raise OSError(f"cannot connect to {remote.url}")

    for name in ("exists", "makedirs"):
        monkeypatch.setattr(remote.files, name, fail)
    with pytest.raises(SteadyPhiError, match="cannot connect to") as unread:
        remote.fetch(tmp_path)
    remote.send(tmp_path, set())
    remote.clear()
    lines = [str(error.value), str(unread.value), *capsys.readouterr().err.splitlines()]
    assert len(lines) == 4 and all("***@host" in line and "secret" not in line for line in lines)
