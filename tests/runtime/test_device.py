"""What is picked on this machine, and that it can be told otherwise."""

import pytest
import torch

from steadyphi.errors import SteadyPhiError
from steadyphi.runtime.device import make_repeatable, pick_device, pick_dtype


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYPHI_DEVICE", "meta")
    assert pick_device() == torch.device("meta")
    monkeypatch.setenv("STEADYPHI_DEVICE", "abacus")
    with pytest.raises(SteadyPhiError, match="STEADYPHI_DEVICE: this machine has no device 'abacus'"):
        pick_device()
    monkeypatch.delenv("STEADYPHI_DEVICE")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


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
