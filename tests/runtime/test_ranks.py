"""Two processes under torchrun compute the same scores as one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from steadyphi.runtime import ranks
from tests.conftest import ROOT

PROGRAM = """
import json, sys, torch
from steadyphi.runtime import ranks
from steadyphi.inference.scoring import score
from tests.inference.test_scoring import random_requests
from tests.test_model import make_pair
torch.set_num_threads(1)
model, _ = make_pair("phi-2")
with ranks.joined():
    found = score(model, random_requests(60), 60)
    assert ranks.gather(ranks.rank()) == list(range(ranks.world_size()))
with open(f"{sys.argv[1]}/{ranks.rank()}.json", "w") as file:
    json.dump(found, file)
"""


def test_alone() -> None:
    assert (ranks.rank(), ranks.world_size()) == (0, 1)
    with ranks.joined():
        assert ranks.gather("x") == ["x"]


@pytest.mark.slow
def test_two_processes_get_the_scores_of_one(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    scores = {}
    for command, name in ((launch, "two"), ([sys.executable], "one")):
        (tmp_path / name).mkdir()
        arguments = [*command, str(tmp_path / "program.py"), str(tmp_path / name)]
        subprocess.run(arguments, env=env, cwd=ROOT, check=True, timeout=200, capture_output=True)
        scores[name] = [json.loads(path.read_text()) for path in sorted((tmp_path / name).iterdir())]
    assert len(scores["two"]) == 2
    assert scores["two"][0] == scores["two"][1] == scores["one"][0]
