"""A run that is killed at any moment goes on and ends with the same bits as one that is not."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from steadyphi.errors import SteadyPhiError
from steadyphi.training import loop
from steadyphi.training.history import History, LogRow
from steadyphi.training.interrupts import Stopped, StopRequest
from steadyphi.training.loop import fit
from steadyphi.training.optimizer import make_optimizer
from steadyphi.training.run_store import RECORD, Store, digest, training_tensors
from tests.conftest import ROOT
from tests.training.made import examples, settings, small_phi

STEPS = 21


def start(folder: Path, method: str, seconds: float = 0.0) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.training.program", str(folder), method, str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def result(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return torch.load(folder / "weights.pt"), json.loads((folder / "curve.json").read_text())


@pytest.fixture(scope="module", params=["full", "lora"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The method, and the folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp(request.param)
    code, out, err = finish(start(folder, request.param))
    assert code == 0, err
    assert out.split() == [str(n) for n in range(1, STEPS + 1)]
    return request.param, folder


def same(folder: Path, expected: Path) -> None:
    (weights, history), (others, whole_history) = result(folder), result(expected)
    assert history == whole_history
    assert list(weights) == list(others)
    for name in weights:
        assert torch.equal(weights[name], others[name]), name


@pytest.mark.slow
def test_killed_at_random_moments(whole: tuple[str, Path], tmp_path: Path) -> None:
    method, expected = whole
    chance = random.Random(5)
    kills = 0
    while kills < 4:
        process = start(tmp_path, method, 0.02)
        assert process.stdout
        process.stdout.readline()  # it trains
        time.sleep(chance.uniform(0.0, 0.4))
        process.kill()
        code, _, err = finish(process)
        if code == 0:
            break
        assert code == -signal.SIGKILL, err
        kills += 1
    code, _, err = finish(start(tmp_path, method))
    assert code == 0, err
    assert kills >= 2
    same(tmp_path, expected)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop(whole: tuple[str, Path], tmp_path: Path, number: signal.Signals) -> None:
    """The state is that of the last whole step, and the exit code says why it ended."""
    method, expected = whole
    process = start(tmp_path, method, 0.3)
    assert process.stdout
    for _ in range(5):
        done = int(process.stdout.readline())
    began = time.monotonic()
    process.send_signal(number)
    code, out, err = finish(process)
    assert code == 128 + number, err
    assert time.monotonic() - began < 10
    (state,) = (tmp_path / "state").glob("step-*")
    assert int(state.name.removeprefix("step-")) in (done, done + 1)
    assert not (tmp_path / "weights.pt").exists()
    code, out, err = finish(start(tmp_path, method))
    assert code == 0, err
    assert len(out.split()) == STEPS  # those before are told again, for the curve in MLflow
    same(tmp_path, expected)


def saved(folder: Path, step: int = 7) -> tuple[Store, dict[str, torch.Tensor]]:
    model = small_phi()
    optimizer = make_optimizer(model, 1e-3, 0.0)
    tensors = training_tensors(model, optimizer)
    for n, tensor in enumerate(tensors.values()):
        tensor.fill_(n / 7)
    store = Store(folder)
    history = History(step, best_step=3, best_loss=1 / 3, rows=[LogRow(1, 0.1, 1e-4, None, 0.1 + 0.2)])
    store.save_best(3, {"weight/x": torch.arange(3.0)})
    store.save(step, tensors, history.record(), best=3)
    store.wait()
    return store, tensors


def test_a_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    store, tensors = saved(tmp_path)
    record = store.record()
    assert record is not None
    assert History.from_record(record).rows == [LogRow(1, 0.1, 1e-4, None, 0.1 + 0.2)]
    empty = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    store.load(empty)
    assert all(torch.equal(empty[name], tensors[name]) for name in tensors)
    best = {"weight/x": torch.zeros(3)}
    store.load_best(3, best)
    assert best["weight/x"].tolist() == [0, 1, 2]
    store.clear()
    assert store.record() is None and not tmp_path.exists()


def test_the_newest_state_alone_is_kept_with_the_best_weights(tmp_path: Path) -> None:
    store, tensors = saved(tmp_path)
    store.save_best(9, {"weight/x": torch.ones(1)})
    store.wait()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-00000003", "best-00000009", "step-00000007"]
    store.save(10, tensors, {}, best=9)
    store.wait()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-00000009", "step-00000010"]


def test_what_a_killed_write_leaves_is_no_state(tmp_path: Path) -> None:
    store, tensors = saved(tmp_path)
    (tmp_path / ".step-00000008.tmp").mkdir()
    (tmp_path / ".step-00000008.tmp" / "half").write_text("")
    assert store.record() == json.loads((tmp_path / "step-00000007" / RECORD).read_text())
    store.save(8, tensors, {}, best=0)
    store.wait()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000008"]


def test_a_step_is_saved_once(tmp_path: Path) -> None:
    """Writing it again would take the only state away for a moment."""
    store, tensors = saved(tmp_path)
    before = (tmp_path / "step-00000007").stat().st_ino
    store.save(7, tensors, {}, best=0)
    assert (tmp_path / "step-00000007").stat().st_ino == before and store.record() != {}


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    store, tensors = saved(tmp_path)
    (tmp_path / ".step-00000008.tmp").write_text("in the way")
    with pytest.raises((SteadyPhiError, OSError)):
        store.save(8, tensors, {}, best=0)
        store.wait()
    assert store.record() is not None


def test_a_validation_that_was_interrupted_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes while the first validation runs; nothing of the curve is missing in the end."""
    chosen = settings(epochs=1, keep="best", patience=9, micro_tokens=20)
    whole = fit(small_phi(), examples(), examples(8), chosen, torch.float32, store=Store(tmp_path / "whole"))
    validate, calls = loop._Run._validate, []

    def interrupted(self: Any, request: StopRequest) -> float:
        calls.append(self.history.step)
        if len(calls) == 1:
            request.number = signal.SIGTERM
        return validate(self, request)

    monkeypatch.setattr(loop._Run, "_validate", interrupted)
    store = Store(tmp_path / "broken")
    with pytest.raises(Stopped) as stopped:
        fit(small_phi(), examples(), examples(8), chosen, torch.float32, store=store)
    assert stopped.value.step == calls[0]
    again = fit(small_phi(), examples(), examples(8), chosen, torch.float32, store=store)
    assert calls[0] == calls[1] and again == whole


def test_a_run_that_has_ended_is_not_trained_further(tmp_path: Path) -> None:
    """Killed after its last step, or after it ended early, it only loads what it kept."""
    chosen = settings(lr=0.05, epochs=8, keep="best", patience=2, schedule="constant")
    model, store = small_phi(), Store(tmp_path)
    history = fit(model, examples(), examples(6), chosen, torch.float32, store=store, save_seconds=0.0)
    assert (
        history.step < 56 and history.best_step < history.step
    )  # it ended early, and kept others than the last
    again = small_phi()
    assert fit(again, examples(), examples(6), chosen, torch.float32, store=store) == history
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/steadyphi-was-here",)


def test_no_code_is_run(tmp_path: Path) -> None:
    store, tensors = saved(tmp_path)
    (tmp_path / "step-00000007" / ".metadata").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(SteadyPhiError, match=r"it names posix\.mkdir\); remove the folder"):
        store.load(tensors)
    assert not Path("/tmp/steadyphi-was-here").exists()


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    store, tensors = saved(tmp_path)
    for file in (tmp_path / "step-00000007").glob("*.distcp"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(SteadyPhiError, match=r"step-00000007: the saved state cannot be read .*; remove"):
        store.load(tensors)


def test_another_configuration_has_another_folder(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("a")
    cpu = torch.device("cpu")

    def key(lr: float = 1e-3, dtype: torch.dtype = torch.float32) -> str:
        return digest(settings(lr=lr), dtype, cpu, [tmp_path / "train"])

    first = key()
    assert first == key() and len(first) == 16
    (tmp_path / "train").write_text("b")
    assert len({first, key(), key(lr=2e-3), key(dtype=torch.bfloat16)}) == 4


def test_another_run_of_the_same_settings_waits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def second() -> None:
        with Store(tmp_path / "key").held():
            order.append("second")

    with Store(tmp_path / "key").held():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive()
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
    assert capfd.readouterr().err == "finetune: waiting for another run of the same settings and data\n"
