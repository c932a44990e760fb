"""Weights for the tests of checkpoints."""

import pytest

from tests.checkpoint import by_hand


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> by_hand.State:
    """Random weights of a small Phi, by name."""
    return by_hand.random_state(tmp_path_factory.mktemp("state"))
