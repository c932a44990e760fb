"""Streaming against the plain method: decode everything, then cut at the first stop string."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.inference.text import Detokenizer, Stops, printable
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

TINY = TextTokenizer(ROOT / "assets" / "phi-tiny")
LETTERS = st.text(alphabet="ab\n", max_size=12)


def pieces_of(tokens: list[int], vocabulary: TextTokenizer = TINY) -> list[str]:
    detokenizer = Detokenizer(vocabulary)
    return [*(detokenizer.push(token) for token in tokens), detokenizer.finish()]


@given(st.lists(st.integers(0, TINY.size - 1), max_size=40))
@settings(deadline=None, max_examples=300)
def test_any_tokens_give_the_text_of_all_at_once(tokens: list[int]) -> None:
    """Random tokens are mostly not valid UTF-8: incomplete characters and stray continuation bytes."""
    assert "".join(pieces_of(tokens)) == TINY.decode(tokens)


@given(st.text(max_size=20))
@settings(deadline=None, max_examples=200)
def test_characters_come_whole(text: str) -> None:
    pieces = pieces_of(TINY.encode(text))
    assert "".join(pieces) == text
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


def test_a_character_of_many_tokens_comes_with_the_last_of_them() -> None:
    tokens = TINY.encode("a 🙂 b")
    smile = TINY.encode("🙂")
    assert len(smile) > 1
    pieces = pieces_of(tokens)
    assert [piece for piece in pieces if piece] != ["a 🙂 b"] and "🙂" in "".join(pieces)
    assert [piece for piece in pieces_of(smile[:-1]) if piece] == ["\ufffd"]  # in the end only


def test_the_real_tokenizer(shared: Path) -> None:
    """In its vocabulary, runs of spaces are added tokens, which decode to themselves."""
    vocabulary = TextTokenizer(shared / "hub" / "phi-2")
    text = "def f():\n        return 'naïve 日本 🙂'\n\n  # end"
    tokens = vocabulary.encode(text)
    assert any(vocabulary.decode([t]).isspace() and len(vocabulary.decode([t])) > 2 for t in tokens)
    assert "".join(pieces_of(tokens, vocabulary)) == text


def stream(pieces: list[str], stops: list[str]) -> tuple[str, str | None]:
    """Return the text that is shown, and the stop string, if one was found. Later pieces are not read."""
    stopper = Stops(stops)
    shown = ""
    for piece in pieces:
        shown += stopper.push(piece)
        assert not any(stop in shown for stop in stops)
    return shown + stopper.finish(), stopper.reached


def plain(text: str, stops: list[str]) -> tuple[str, str | None]:
    """Cut at the stop string that ends first; of several, at the longest."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            longest = max(ending, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(st.lists(LETTERS, max_size=8), st.lists(LETTERS.filter(bool), max_size=4))
@settings(max_examples=1000)
def test_stop_strings_across_pieces(pieces: list[str], stops: list[str]) -> None:
    assert stream(pieces, stops) == plain("".join(pieces), stops)


@given(st.text(alphabet="abc", max_size=30), st.text(alphabet="abc", min_size=1, max_size=4))
def test_one_stop_string_cuts_where_it_first_stands(text: str, stop: str) -> None:
    assert stream(list(text), [stop])[0] == text.partition(stop)[0]


def test_no_more_is_held_back_than_may_become_a_stop_string() -> None:
    stopper = Stops(["\nInstruct:"])
    assert [stopper.push(piece) for piece in ("one", " two\n", "In", "side\n\n", "Instruct", ": x")] == [
        "one",
        " two",
        "",
        "\nInside\n",
        "",
        "",
    ]
    assert stopper.reached == "\nInstruct:" and stopper.finish() == ""


@pytest.mark.parametrize("bad", ["\x1b[2J", "\x9b31m", "\r", "\x07", "\x00", "\x7f", "\x08"])
def test_nothing_that_drives_a_terminal_is_printed(bad: str) -> None:
    shown = printable(f"a\tb\n{bad}é🙂")
    assert shown.startswith("a\tb\n") and shown.endswith("é🙂")
    assert all(c.isprintable() or c in "\n\t" for c in shown)
