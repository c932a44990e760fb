"""Real questions, scored through the tree and by transformers. `benchmarks.equality` scores all of them."""

from pathlib import Path

import pytest

from benchmarks import equality


@pytest.mark.slow
@pytest.mark.parametrize("name", equality.SETS)
def test_no_best_choice_changes(shared: Path, name: str) -> None:
    compared = equality.compare(shared, name, every=100)
    assert compared["prompts"] > 2 and compared["changed"] == 0
    assert compared["largest_difference"] < 1e-4
