"""The marker of the tests that need Slurm."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slurm: needs Slurm; make slurm runs these tests, make test does not")
