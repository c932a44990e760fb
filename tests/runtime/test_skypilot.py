"""docs/skypilot.yaml is a job that SkyPilot understands, and names what there is."""

import copy
import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

PLACES = [("STEADYPHI_STATE_URL", "s3://bucket/states"), ("REMOTE", "s3://bucket/dvc")]


@pytest.fixture
def job() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docs" / "skypilot.yaml").read_text()))


def test_skypilot_reads_it_as_a_job_that_recovers(job: dict[str, Any]) -> None:
    sky = pytest.importorskip("sky", reason="needs SkyPilot: pip install skypilot, in another environment")
    task = sky.Task.from_yaml_config(copy.deepcopy(job), env_overrides=PLACES)
    assert task.envs.items() >= dict(PLACES).items()
    assert {name for each in task.resources for name in each.accelerators} == {"H100", "A100-80GB"}
    for each in task.resources:
        assert each.use_spot and each.job_recovery["strategy"] == "EAGER_NEXT_REGION"
    with pytest.raises(ValueError, match="STEADYPHI_STATE_URL"):
        sky.Task.from_yaml_config(job)  # both places have to be given


def test_its_scripts_name_what_there_is(job: dict[str, Any]) -> None:
    stages = re.findall(r"for stage in (.+); do", job["run"])[0].split()
    assert set(stages) <= set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    for script in (job["setup"], job["run"]):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    documented = (ROOT / "docs" / "settings.md").read_text()
    assert all(name in documented for name in job["envs"] if name.startswith("STEADYPHI_"))
