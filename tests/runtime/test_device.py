"""What is picked on this machine, and that it can be told otherwise."""

import pytest
import torch

from steadyphi.errors import SteadyPhiError
from steadyphi.runtime import device as device_module
from steadyphi.runtime.device import make_repeatable, pick_device, pick_dtype


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYPHI_DEVICE", "meta")
    assert pick_device() == torch.device("meta")
    monkeypatch.setenv("STEADYPHI_DEVICE", "abacus")
    with pytest.raises(SteadyPhiError, match="STEADYPHI_DEVICE: this machine has no device 'abacus'"):
        pick_device()
    monkeypatch.delenv("STEADYPHI_DEVICE")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


class FakeGpus:
    """A machine with GPUs, as far as picking the device goes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, **environment: str) -> None:
        self.used: int | None = None
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: setattr(self, "used", device.index))
        monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
        for name in ("STEADYPHI_DEVICE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = FakeGpus(monkeypatch, 4, LOCAL_RANK="3", TORCHELASTIC_RUN_ID="x")
    assert pick_device() == torch.device("cuda:3") and gpus.used == 3


def test_slurm_shows_each_process_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --gpus-per-task=1 the fourth process of a node sees one GPU, whose number is 0."""
    gpus = FakeGpus(monkeypatch, 1, LOCAL_RANK="3")
    assert pick_device() == torch.device("cuda:0") and gpus.used == 0


def test_workers_of_a_queue_take_turns_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, expected in ((0, 0), (1, 1), (2, 0)):
        gpus = FakeGpus(monkeypatch, 2)
        monkeypatch.setattr(device_module, "queue_place", lambda place=place: (place, 3))
        assert pick_device() == torch.device("cuda", expected) and gpus.used == expected


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, environment in ((1, {"TORCHELASTIC_RUN_ID": "x"}), (2, {})):
        FakeGpus(monkeypatch, count, LOCAL_RANK="2", **environment)
        with pytest.raises(SteadyPhiError, match=f"process 3 on this machine sees {count} GPUs"):
            pick_device()


def test_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert pick_dtype("float32", cpu) == torch.float32
    assert pick_dtype("bfloat16", cpu) == torch.bfloat16
    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert pick_dtype("auto", cpu) == expected


def test_repeatable() -> None:
    draws = []
    for _ in range(2):
        make_repeatable(7, threads=2)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1] and torch.get_num_threads() == 2


def test_workers_of_a_queue_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed number of threads stays, because it decides the bytes of the result."""
    monkeypatch.setattr(device_module, "queue_place", lambda: (1, 3))
    for before, threads, expected in ((8, None, 2), (2, None, 1), (8, 4, 4)):
        torch.set_num_threads(before)
        make_repeatable(0, threads)
        assert torch.get_num_threads() == expected


def test_deterministic_mode_is_for_cpus() -> None:
    """On a GPU it would cost time without making attention's backward pass deterministic."""
    make_repeatable(0, None, torch.device("cuda"))
    assert not torch.are_deterministic_algorithms_enabled()
    make_repeatable(0, None, torch.device("cpu"))
    assert torch.are_deterministic_algorithms_enabled()
