"""A report, and a tab of a browser that opens it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyphi.report import write_report
from tests.report import chromium, example


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(example.experiment(), folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Tab]:
    with chromium.tab(tmp_path_factory.mktemp("profile")) as tab:
        yield tab
