"""A repository with an empty run store."""

import shutil
from pathlib import Path

import pytest

from steadyphi.tracking.stage_run import stage_run

DIGEST = "0123456789ab"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database: the migration costs seconds, so all tests but one start from a copy."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        with stage_run("template", experiment="template", digest=DIGEST, settings={}, title="template"):
            pass
    return folder / "mlflow.db"


def isolate(patch: pytest.MonkeyPatch, root: Path) -> None:
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "DVC_STAGE"):
        patch.delenv(name, raising=False)
    patch.setenv("DVC_ROOT", str(root))
    patch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "a repository #1"  # what people call their folders
    root.mkdir()
    shutil.copy(template, root)
    isolate(monkeypatch, root)
    return root
