"""Pieces of texts: their ids, joined, are those that the tokenizer gives the whole text."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from steadyphi.pre_tokens import pieces_of
from steadyphi.tokenizer import END_OF_TEXT as END
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

# Where GPT-2's pattern makes a difference: contractions, white space of all kinds before words and digits.
_PARTS = st.sampled_from(
    [
        *"'x7. \n\t\x0b\x1c\x00(_é\xa0\u2028\x85’²٣中🙂İ",
        "'s",
        "'ll",
        "'d ",
        "don't",
        "Ab",
        "42",
        "  ",
        "\t\t",
        END,
    ]
)
_TEXTS = st.lists(st.lists(_PARTS, max_size=9).map("".join) | st.text(max_size=12), max_size=6)


@settings(max_examples=400, deadline=None)
@given(_TEXTS)
def test_ids_are_those_of_whole_texts(texts: list[str]) -> None:
    _check(ROOT / "assets" / "phi-tiny", texts)


@settings(max_examples=400, deadline=None)
@given(_TEXTS)
def test_ids_of_phi_2_are_those_of_whole_texts(shared: Path, texts: list[str]) -> None:
    _check(shared / "hub" / "phi-2", texts)


_tokenizers: dict[Path, tuple[TextTokenizer, Tokenizer]] = {}


def _check(folder: Path, texts: list[str]) -> None:
    if folder not in _tokenizers:
        reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
        reference.encode_special_tokens = True
        _tokenizers[folder] = TextTokenizer(folder), reference
    ours, reference = _tokenizers[folder]
    assert ours.encode_batch(texts) == [
        reference.encode(text, add_special_tokens=False).ids for text in texts
    ]


def test_a_shared_piece_is_encoded_once(phi_tiny: Path) -> None:
    cut = pieces_of(json.loads((phi_tiny / "tokenizer.json").read_text()), [])
    assert list(cut("Don't add 12 and  3.")) == ["Don", "'t", " add", " 12", " and", "  3", "."]
    assert list(cut("Où est le  chat ?")) == ["Où", " est", " le  chat", " ?"]


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}},
        {"model": {"type": "Unigram"}},
        {"model": {"type": "BPE", "dropout": 0.1}},
    ],
)
def test_a_tokenizer_of_another_kind_gets_whole_texts(phi_tiny: Path, change: dict[str, object]) -> None:
    described = {**json.loads((phi_tiny / "tokenizer.json").read_text()), **change}
    assert list(pieces_of(described, [])("a b c")) == ["a b c"]


def test_a_text_with_an_added_token_is_whole(phi_tiny: Path) -> None:
    described = json.loads((phi_tiny / "tokenizer.json").read_text())
    cut = pieces_of(described, ["  ", "<think>"])
    assert [list(cut(text)) for text in ("a  b c", "a<think> b", "a b")] == [
        ["a  b c"],
        ["a<think> b"],
        ["a", " b"],
    ]
