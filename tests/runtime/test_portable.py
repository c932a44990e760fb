"""The same bytes whatever instructions the CPU offers: steps of training, and scores."""

import os
import subprocess
import sys

import pytest
import torch

from steadyphi.runtime.portable import INSTRUCTIONS, fix_instructions
from tests.conftest import ROOT

PROGRAM = """
import sys
from steadyphi.runtime.portable import fix_instructions
fix_instructions(sys.argv[1])
import hashlib, torch
from steadyphi.inference.packed import pack
from steadyphi.inference.scoring import Request, score
from steadyphi.runtime.device import make_repeatable, pick_dtype
from steadyphi.training.loop import fit
from tests.training.made import examples, settings, small_phi
make_repeatable(0, 1)
model = small_phi()
fit(model, examples(), [], settings(max_steps=2), pick_dtype(sys.argv[1], torch.device("cpu")))
values = torch.cat([p.detach().flatten() for p in model.parameters()])
requests = [Request((5, n, 7, 9, 11) * 8, (n + 1, 3), str(n)) for n in range(60)]
scores = torch.tensor(score(pack(model.eval().requires_grad_(False), least=0), requests, 500))
print(hashlib.sha256(values.numpy().tobytes() + scores.numpy().tobytes()).hexdigest())
"""
# What a machine with fewer instructions would choose by itself.
OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def digest(precision: str, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in INSTRUCTIONS}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, precision],
        cwd=ROOT,
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.slow
def test_portable_bytes_do_not_depend_on_the_instructions() -> None:
    here = digest("portable")
    assert digest("portable", **OLDER) == here
    assert digest("portable", MKL_CBWR="AUTO") == here
    if torch.backends.cpu.get_cpu_capability() == "AVX512":  # else there is nothing to tell apart
        assert digest("float32") != digest("float32", **OLDER)


def test_it_is_too_late_once_torch_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in INSTRUCTIONS:
        monkeypatch.delenv(name, raising=False)
    fix_instructions("auto")
    with pytest.raises(RuntimeError, match="before importing it"):
        fix_instructions("portable")
    for name, value in INSTRUCTIONS.items():
        monkeypatch.setenv(name, value)
    fix_instructions("portable")  # nothing to do
