"""The seam between prompt and answer, with the tokenizers of phi-tiny and of Phi-2."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.seam import audit
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

FOLDER = ROOT / "assets" / "phi-tiny"
TINY = TextTokenizer(FOLDER)
LIBRARY = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@pytest.fixture(scope="module")
def phi2(shared: Path) -> TextTokenizer:
    return TextTokenizer(shared / "hub" / "phi-2")


def test_phi2_by_hand(phi2: TextTokenizer) -> None:
    """` Paris` is one token of Phi-2, so a space at the end of the prompt splits it."""
    boundaries = {n: audit(phi2, f.prompt("Of France?"), f.answer("Paris")) for n, f in FORMATS.items()}
    assert boundaries["phi2"].summary == '…"Output" ":" │ "␣Paris" · merges: no'
    assert boundaries["phi2-space"].summary == '…":" "␣" │ "Paris" · merges: yes'
    assert boundaries["phi2-newline"].summary == '…":" "⏎" │ "Paris" · merges: no'
    assert boundaries["question-tab"].summary == '…"Answer" "⇥" │ "Paris" · merges: no'
    assert [name for name, boundary in boundaries.items() if boundary.merges] == ["phi2-space"]
    assert all(boundary.natural != boundary.merges for boundary in boundaries.values())


def test_two_newlines_are_one_token_at_the_end_and_two_before_a_word(phi2: TextTokenizer) -> None:
    boundary = audit(phi2, "Answer:\n\n", "Paris")
    assert boundary.before == (":", "\n\n") and not boundary.merges and not boundary.natural
    assert boundary.summary.endswith("merges: no · encoded otherwise in running text")


def test_a_word_cut_in_two() -> None:
    """` water` is one token of phi-tiny, so it crosses any seam within the word."""
    assert len(TINY.encode(" water")) == 1
    boundary = audit(TINY, "Give me wat", "er")
    assert boundary.merges and not boundary.natural
    assert not audit(TINY, "Give me", " water").merges


def test_phi_tiny_in_every_format() -> None:
    merging = {n for n, f in FORMATS.items() if audit(TINY, f.prompt("Of?"), f.answer("water")).merges}
    assert merging == {"phi2-space"}


@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_text(prompt: str, answer: str) -> None:
    """Whether a token crosses the seam agrees with the offsets that the tokenizers library returns."""
    boundary = audit(TINY, prompt, answer)
    offsets = LIBRARY.encode(prompt + answer).offsets
    assert boundary.merges == any(start < len(prompt) < end for start, end in offsets)
    assert not (boundary.natural and boundary.merges)
    assert "\n" not in boundary.summary
