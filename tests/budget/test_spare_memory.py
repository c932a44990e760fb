"""The copy of a state is planned beside the run."""

import pytest

from steadyphi.budget import spare_memory
from steadyphi.budget.free_memory import FreeMemory
from steadyphi.budget.memory import Estimate
from steadyphi.budget.spare_memory import room
from tests.training.made import settings, small_phi


def test_on_a_cpu_it_is_what_the_run_leaves_free() -> None:
    estimate = Estimate(small_phi().config, settings(), "float32", gpu=False)
    for times in (10, 1):
        free = FreeMemory(times * estimate.total, "this machine", gpu=False)
        assert room(estimate, free) == pytest.approx((0.9 * times - 1) * estimate.total, abs=1)


def test_on_a_gpu_it_is_the_memory_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = Estimate(small_phi().config, settings(), "float32", ranks=4)
    seen = []

    def host(device: str, ranks: int) -> FreeMemory:
        seen.append((device, ranks))
        return FreeMemory(1000, "this machine for each", gpu=False)

    monkeypatch.setattr(spare_memory, "free_memory", host)
    assert room(estimate, FreeMemory(10, "the GPU", gpu=True)) == 900
    assert seen == [("cpu", 4)]
