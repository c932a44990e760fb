"""What the store does not take is kept on disk, and sent later as if nothing had happened."""

import contextlib
import json
import resource
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from stages.rebuild import send_pending
from steadyphi.errors import SteadyPhiError
from steadyphi.tracking import mlflow_store, pending, stage_run
from steadyphi.tracking.mlflow_store import tracking_uri
from steadyphi.tracking.published import Published
from tests.tracking.conftest import DIGEST, isolate
from tests.tracking.rows import history, record, runs


def break_store(root: Path) -> None:
    (root / "mlflow.db").rename(root / "whole.db")
    (root / "mlflow.db").mkdir()


def mend_store(root: Path) -> None:
    (root / "mlflow.db").rmdir()
    (root / "whole.db").rename(root / "mlflow.db")


def train(root: Path, breaks: str = "") -> None:
    """Record a stage; the store breaks before it, or in the middle, or only the artifact store fails."""
    if breaks == "before":
        break_store(root)
    with record(seed=7) as run:
        run.params({"lr": 0.1})
        run.metrics({"loss": 2.0}, step=1)
        run._flush()
        if breaks == "midway":
            break_store(root)
        run.metrics({"loss": 1.0, "nan": float("nan")}, step=2)
        (root / "curve.csv").write_text("of this run")
        run.artifact(root / "curve.csv", "curves")
        run.text("an answer", "samples/1.txt")
        run.output("model", "abc")
        run.summary(Published(["steadier"], {"spread": [(0, 0.5), (9, 0.25)]}, [root / "curve.csv"]))
    # Stages replace their files. What was kept is that of the run.
    (root / "curve.csv").unlink()
    (root / "curve.csv").write_text("of a later run")


def facts() -> list[Any]:
    """Everything that MLflow has, without times and ids."""
    of_runs = []
    for run in [*runs()[0], *runs()[1]]:
        tags = {k: v for k, v in run.data.tags.items() if k not in ("mlflow.parentRunId", "steadyphi.record")}
        names = ["curve.csv", "curves/curve.csv", "samples/1.txt"]
        folder = Path(run.info.artifact_uri.removeprefix("file://").replace("%20", " ").replace("%23", "#"))
        texts = [(folder / name).read_text() for name in names if (folder / name).exists()]
        points = {key: history(run, key) for key in run.data.metrics}
        of_runs.append((run.info.run_name, run.info.status, run.data.params, tags, str(points), texts))
    return of_runs


@pytest.fixture
def undisturbed(root: Path, tmp_path: Path) -> list[Any]:
    """What MLflow has after a stage if nothing fails."""
    shutil.copy(root / "mlflow.db", tmp_path / "empty.db")
    train(root)
    whole = facts()
    shutil.rmtree(root / "mlartifacts")
    shutil.copy(tmp_path / "empty.db", root / "mlflow.db")
    assert str(whole).count("of this run") == 2 and "nan" in str(whole)
    return whole


@pytest.mark.parametrize("breaks", ["before", "midway"])
def test_what_a_broken_store_missed_is_sent_later(
    root: Path,
    undisturbed: list[Any],
    breaks: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(root, breaks)
    assert len(pending.waiting()) == 1 and stage_run.KEPT in capsys.readouterr().err
    sent, (failed,) = pending.send_all()  # still broken
    assert not sent and "kept in" in failed and len(pending.waiting()) == 1
    mend_store(root)
    shutil.copytree(pending.waiting()[0], copy := root / ".cache" / "copy")
    assert pending.send_all() == (["finetune · title of 0123456789ab"], [])
    assert facts() == undisturbed and not pending.waiting()
    pending.send(copy)  # again, as after a kill in the middle
    assert facts() == undisturbed


def test_the_next_stage_sends_it(root: Path, undisturbed: list[Any]) -> None:
    train(root, "before")
    mend_store(root)
    with record("gate", "f" * 12):
        pass
    assert not pending.waiting()
    assert [each for each in facts() if "f" * 12 not in each[0]] == undisturbed


def test_a_stage_that_goes_on_sends_it_itself(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage_run, "RETRY_SECONDS", 0)
    with record() as run:
        break_store(root)
        run.output("model", "abc")
        run.params({"lr": 0.1})
        mend_store(root)
        run.metrics({"loss": 1.0}, step=2)
    _, [child] = runs()
    assert child.data.tags["output.model"] == "abc" and child.data.params == {"lr": "0.1"}
    assert (child.data.metrics, child.info.status) == ({"loss": 1.0}, "FINISHED")
    assert not pending.waiting()


def test_artifacts_are_sent_when_their_store_works_again(root: Path, undisturbed: list[Any]) -> None:
    (root / "mlartifacts").write_text("a file where a folder should be")
    train(root)
    assert runs()[0][0].data.metrics == {"spread": 0.25}  # the rest has arrived
    (root / "mlartifacts").unlink()
    assert len(pending.send_all()[0]) == 1
    assert facts() == undisturbed


def test_a_record_goes_to_its_own_server_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with record():
        assert pending.send_all() == ([], [])  # a stage that still runs keeps its record
    assert len(pending.waiting()) == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert not pending.waiting()


def kept(root: Path, *lines: str) -> Path:
    """A record with these lines, for the present server."""
    folder = root / ".cache" / "mlflow" / "1-1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / pending.DESTINATION).write_text(tracking_uri())
    (folder / pending.OPERATIONS).write_text("".join(lines))
    return folder


def test_a_kill_within_a_line_leaves_the_lines_before(root: Path) -> None:
    line = json.dumps({"do": "text", "text": "a", "name": "b"}) + "\n"
    assert len(list(pending.operations(kept(root, line, line[:20])))) == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"do": "st{"do": "end"}\n', "line 1: is damaged"),
        ("[]\n", "line 1: is damaged"),
        ('{"do": "artifact", "path": "../../x"}\n', "outside the folder"),
        ('{"do": "' + "x" * 200 + '"}\n', "more than 100 bytes"),
    ],
)
def test_a_damaged_record_does_not_stop_others(
    root: Path, line: str, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "100" in problem:
        monkeypatch.setattr(pending, "MOST_LINE", 100)
    folder = kept(root, line)
    sent, (failed,) = pending.send_all()
    assert not sent and problem in failed and str(folder) in failed and folder.exists()
    with record() as run:  # which reports it and is recorded
        run.output("model", "abc")
    assert problem in capsys.readouterr().err and runs()[1][0].data.tags["output.model"] == "abc"
    shutil.copytree(folder, folder.with_name("1-2"))
    with pytest.raises(SteadyPhiError, match="records not sent: 2"):
        send_pending()
    printed = capsys.readouterr().out
    assert all(f"not sent: {name}: SteadyPhiError: {folder.parent}" in printed for name in ("1-1", "1-2"))


def test_a_full_disk_leaves_whole_lines(root: Path) -> None:
    kept_record = pending.Record()
    kept_record.add({"do": "tag", "key": "a", "value": "b"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            kept_record.add({"do": "tag", "key": "c", "value": "long" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept_record.add({"do": "end"})
    kept_record.close()
    assert [each["do"] for each in pending.operations(kept_record.folder)] == ["tag", "end"]


def test_a_large_operation_is_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "MOST_LINE", 100)
    kept_record = pending.Record()
    kept_record.add({"do": "text", "text": "short"})
    with pytest.raises(SteadyPhiError, match="text: has 1027 bytes, more than 100"):
        kept_record.add({"do": "text", "text": "x" * 1000})
    assert len(list(pending.operations(kept_record.folder))) == 1


def test_a_kill_while_a_record_is_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(root, "before")
    mend_store(root)
    (record_folder,) = pending.waiting()

    remove = shutil.rmtree

    def killed(folder: Path, **options: Any) -> None:
        if root / ".cache" not in Path(folder).parents:  # MLflow removes its temporary folders
            return remove(folder, **options)
        shutil.move(folder / "files", root / "gone")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pending.shutil, "rmtree", killed)
        pending.send_all()
    assert not pending.waiting() and list(pending.folder().iterdir()) and not record_folder.exists()
    assert pending.send_all() == ([], []) and not list(pending.folder().iterdir())


def test_what_mlflow_refuses_does_not_stop_the_rest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_store(root)
    with record() as run:
        run.output("x" * 300, "a key that is too long")
        run.output("model", "abc")
    mend_store(root)
    capsys.readouterr()
    assert len(pending.send_all()[0]) == 1 and not pending.waiting()
    assert "refuses tag, which is left out: MlflowException" in capsys.readouterr().err
    _, [child] = runs()
    assert child.data.tags["output.model"] == "abc" and child.info.status == "FINISHED"


def keep(root: Path, digest: str, monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> None:
    """Record a stage of an older commit, whose dvc has ended, while the store is broken."""
    break_store(root)
    with monkeypatch.context() as patch, contextlib.suppress(RuntimeError):
        patch.setenv("DVC_EXP_BASELINE_REV", "OLD")
        patch.setattr(mlflow_store, "owner_tag", lambda: {"process": f"{socket.gethostname()}:1:0.00"})
        with record("publish", digest) as run:
            run.summary(Published(["worse"], {"spread": [(0, 0.75)]}, []))
            if fails:
                raise RuntimeError
    mend_store(root)


@pytest.mark.parametrize("fails", [False, True])
def test_a_late_record_leaves_a_newer_row(root: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    keep(root, DIGEST, monkeypatch, fails=fails)
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "NEW")
    monkeypatch.setattr(pending, "send_all", lambda: ([], []))
    with record("publish") as run:
        run.summary(Published(["better"], {"spread": [(0, 0.25)]}, []))
    monkeypatch.undo()
    isolate(monkeypatch, root)
    [before], _ = runs()
    assert (before.info.status, before.data.tags["git.revision"]) == ("FINISHED", "NEW")
    assert len(pending.send_all()[0]) == 1
    [after], children = runs()
    assert after.to_dictionary() == before.to_dictionary()
    revisions = {run.data.tags["git.revision"]: run.info.status for run in children}
    assert revisions == {"NEW": "FINISHED", "OLD": "FAILED" if fails else "FINISHED"}


def test_the_newest_record_writes_its_row(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with record("publish") as run:
        run.summary(Published(["better"], {"spread": [(0, 0.25)]}, []))
    keep(root, DIGEST, monkeypatch, fails=True)
    assert len(pending.send_all()[0]) == 1
    [row], _ = runs()
    assert (row.info.status, row.data.tags["git.revision"]) == ("FAILED", "OLD")
    assert row.data.metrics["spread"] == 0.75


def test_a_record_leaves_no_row_running_whose_process_has_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_store(root)
    monkeypatch.setattr(mlflow_store, "owner_tag", lambda: {"process": f"{socket.gethostname()}:1:0.00"})
    with record():
        pass
    mend_store(root)
    assert len(pending.send_all()[0]) == 1
    [row], [child] = runs()
    assert (row.info.status, child.info.status) == ("KILLED", "FINISHED")
