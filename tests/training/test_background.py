"""Training goes on while its state is written, if memory has room for a copy."""

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from steadyphi.errors import SteadyPhiError
from steadyphi.training.run_store import Store


class Held(Store):
    """A store whose writing goes on only after `gate` is set."""

    def __init__(self, folder: Path, room: int | None = None) -> None:
        super().__init__(folder, room=room)
        self.gate = threading.Event()

    def _put(self, *arguments: object) -> None:
        assert self.gate.wait(60)
        super()._put(*arguments)  # type: ignore[arg-type]


def tensors() -> dict[str, Tensor]:
    return {"weight/a": torch.arange(6.0).view(2, 3), "exp_avg/a": torch.ones(2, 3)}


def test_what_is_written_are_the_values_at_the_call(tmp_path: Path) -> None:
    store, changing = Held(tmp_path), tensors()
    store.save(1, changing, {"step": 1}, 0)
    changing["weight/a"].fill_(-1)  # training goes on
    assert not list(tmp_path.glob("step-*"))
    store.gate.set()
    assert store.record() == {"step": 1}
    written = {name: torch.zeros_like(tensor) for name, tensor in changing.items()}
    store.load(written)
    assert all(torch.equal(written[name], value) for name, value in tensors().items())


def test_the_next_state_waits_for_the_one_before(tmp_path: Path) -> None:
    store, order = Held(tmp_path), []
    store.save(1, tensors(), {"step": 1}, 0)
    second = threading.Thread(
        target=lambda: (store.save(2, tensors(), {"step": 2}, 0), order.append("second"))
    )
    second.start()
    second.join(0.3)
    assert second.is_alive() and not order
    store.gate.set()
    second.join(30)
    assert store.record() == {"step": 2} and [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_without_room_training_waits_and_it_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path, room=47)  # bytes; the copy would have 48
    for step in (1, 2):
        store.save(step, tensors(), {"step": step}, 0)
        assert (tmp_path / f"step-{step:08}").is_dir()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("finetune: waits whenever its state is written, because a copy of 0.00 GB")
    enough = Held(tmp_path / "enough", room=48)
    enough.save(1, tensors(), {}, 0)  # returns although nothing can be written yet
    enough.gate.set()
    enough.wait()


def test_an_error_is_raised_by_the_next_call(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(1, tensors(), {"step": 1}, 0)
    store.wait()
    (tmp_path / ".step-00000002.tmp").write_text("in the way")
    store.save(2, tensors(), {"step": 2}, 0)
    with pytest.raises((SteadyPhiError, OSError)):
        store.save(3, tensors(), {"step": 3}, 0)
    assert store.record() == {"step": 1}


def test_the_lock_is_held_until_the_state_is_written(tmp_path: Path) -> None:
    store = Held(tmp_path / "key")
    threading.Timer(0.3, store.gate.set).start()
    with store.held():
        store.save(1, tensors(), {"step": 1}, 0)
    assert (tmp_path / "key" / "step-00000001").is_dir()
    store.gate.clear()
    threading.Timer(0.3, store.gate.set).start()
    with pytest.raises(ValueError, match="of the run"), store.held():
        store.save(2, tensors(), {"step": 2}, 0)
        raise ValueError("of the run")
    assert (tmp_path / "key" / "step-00000002").is_dir()
