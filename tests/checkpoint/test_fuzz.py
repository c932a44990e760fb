"""Whatever a file of a checkpoint contains, it is read or refused in one line, soon and in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    "count", [500, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_changed_files_are_read_or_refused(tmp_path: Path, count: int) -> None:
    command = [sys.executable, "-m", "tests.checkpoint.fuzz", str(tmp_path), str(count), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]  # -14: a change took too long
    outcomes = json.loads(done.stdout)
    assert sum(map(sum, outcomes.values())) == count
    for kind, (accepted, refused) in outcomes.items():
        assert refused and (accepted or kind in ("index", "tokenizer")), f"{kind}: the changes are too coarse"
