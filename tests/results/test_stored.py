"""Reports are read back, and refused if they are of another version."""

from pathlib import Path

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.files import write_json
from steadyphi.results.stored import read_experiment, to_json
from tests.report.example import experiment


def test_report_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    written = experiment()
    write_json(path, to_json(written))
    assert read_experiment(path) == written


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 1}, "has schema 1, this version reads"),
        ({"settings": "none"}, "settings: Input should be"),
        ({"runs": [{"label": "base"}]}, r"runs\.0\.\w+: "),
    ],
)
def test_another_version_is_refused(change: dict[str, object], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {**to_json(experiment()), **change})
    with pytest.raises(SteadyPhiError, match=f"^{path}: .*{reason}"):
        read_experiment(path)
