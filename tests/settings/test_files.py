"""The file of settings of the stage `publish`, also as older versions wrote it."""

from pathlib import Path

import pytest
import yaml

from steadyphi.errors import SteadyPhiError
from steadyphi.settings.compose import compose
from steadyphi.settings.files import load_published, load_settings, stage_files
from steadyphi.settings.schema import Publish
from tests.conftest import ROOT


def test_older_settings_of_publish_are_read_without_the_registry(tmp_path: Path) -> None:
    path = tmp_path / "publish.yaml"
    path.write_text(stage_files(compose({}, ROOT / "conf"))["publish"])
    now = load_settings(path, Publish)
    older = yaml.safe_load(path.read_text())
    for key in ("register", "alias", "copy_weights"):
        del older[key]
    path.write_text(yaml.safe_dump(older))
    read = load_published(path)
    assert (read.digest, read.settings, read.register) == (now.digest, now.settings, None)
    path.write_text("experiment: steadyphi")
    with pytest.raises(SteadyPhiError, match=f"^{path}: is not as compose writes it: 'digest'$"):
        load_published(path)
