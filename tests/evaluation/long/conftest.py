"""Both real tokenizers, items of the textbook, and a writer in Phi-2's own format."""

from pathlib import Path

import pytest

from steadyphi.data import textbook
from steadyphi.evaluation.long.writer import Writer
from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.item import Item
from steadyphi.tokenizer import TextTokenizer


@pytest.fixture(scope="session")
def tiny(phi_tiny: Path) -> TextTokenizer:
    return TextTokenizer(phi_tiny)


@pytest.fixture(scope="session", params=["phi-tiny", "phi-2"])
def tokenizer(request: pytest.FixtureRequest, tiny: TextTokenizer) -> TextTokenizer:
    if request.param == "phi-tiny":
        return tiny
    return TextTokenizer(request.getfixturevalue("shared") / "hub" / "phi-2")


@pytest.fixture(scope="session")
def writer(tokenizer: TextTokenizer) -> Writer:
    return Writer(tokenizer, FORMATS["phi2"])


@pytest.fixture(scope="session")
def items() -> list[Item]:
    return [
        Item(f"q{n}", q.skill, q.text, q.choices, q.choices.index(q.answer))
        for n, q in enumerate(textbook.questions("evaluate", 0, 45))
    ]
