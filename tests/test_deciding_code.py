"""The digests of kept scores and of half-done runs name exactly the code that decides their numbers.

The computation is run in a process of its own, and the modules of this project that it imports are listed.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from steadyphi.inference import score_cache
from steadyphi.training import run_store
from tests.conftest import ROOT

EVALUATION = """
import sys, torch
from pathlib import Path
from steadyphi.inference.open_model import open_model
from steadyphi.inference.scoring import Request
from steadyphi.runtime.device import make_repeatable
make_repeatable(0, 1)
folder, cache = Path(sys.argv[1]), Path(sys.argv[2]) / "scores.sqlite"
model = open_model(folder, None, cache, torch.float32, torch.device("cpu"), 256, bits=8)
model.score([Request((1, 2), (3,), "x")])
model.generate(["Instruct: Who?\\nOutput:"], 2, "x")
"""
TRAINING = """
import sys, torch
from steadyphi.runtime.device import make_repeatable
from steadyphi.training import adapters
from tests.training import program
make_repeatable(0, 1)
program.main(__import__("pathlib").Path(sys.argv[2]), "lora", 0.0)
"""
LIST = "print(*sorted(m for m in sys.modules if m.startswith('steadyphi.')), sep='\\n', file=sys.stderr)"

# What the computation imports and what cannot change a number, each for its reason.
SHOWN = {"errors", "progress"}  # what is printed
STORED = {"files", "checkpoint.manifest"}  # how files are read and written, or refused
NOT_IN_SCORES = (
    SHOWN
    | STORED
    | {
        "checkpoint.adapter_base",  # whether an adapter is refused
        "inference.score_cache",  # where scores are kept
        "runtime.ranks",  # which process computes a batch
    }
)
NOT_IN_TRAINING = (
    SHOWN
    | STORED
    | {
        "budget.footprint",  # an estimate of memory
        "checkpoint.causes",  # what is read of other tools' checkpoints,
        "checkpoint.tensors",
        "prompts.formats",  # a type of settings
        "settings.groups",
        "settings.schema",  # the settings themselves are part of the digest
        "settings.values",
        "training.flops",  # speed that is shown
        "training.speed",
        "training.interrupts",  # when a run stops
        "training.remote_state",  # where states are copied to
    }
)


def imported(program: str, *arguments: Path) -> set[str]:
    """Return the modules that a program imports, without packages that hold nothing but a docstring."""
    command = [sys.executable, "-c", program + LIST, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = [line.removeprefix("steadyphi.") for line in done.stderr.splitlines() if "steadyphi." in line]
    return {name for name in names if (ROOT / "steadyphi" / f"{name.replace('.', '/')}.py").is_file()}


def named(paths: tuple[str, ...]) -> set[str]:
    assert list(paths) == sorted(set(paths)) and all((ROOT / "steadyphi" / path).is_file() for path in paths)
    return {path.removesuffix(".py").replace("/", ".") for path in paths}


def test_kept_scores(phi_tiny: Path, tmp_path: Path) -> None:
    assert imported(EVALUATION, phi_tiny, tmp_path) - NOT_IN_SCORES == named(score_cache.DECIDING)


@pytest.mark.slow
def test_half_done_runs(phi_tiny: Path, tmp_path: Path) -> None:
    assert imported(TRAINING, phi_tiny, tmp_path) - NOT_IN_TRAINING == named(run_store.DECIDING)


@pytest.mark.parametrize(
    "edited",
    ["report/style.css", "cli/chat.py", "budget/memory.py", "evaluation/run.py", "inspection/page.py"],
)
def test_an_edit_elsewhere_discards_nothing(edited: str) -> None:
    assert (ROOT / "steadyphi" / edited).is_file()
    assert edited not in {*score_cache.DECIDING, *run_store.DECIDING}
