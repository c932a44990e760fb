"""Texts cut into pieces that a tokenizer encodes independently, so that each is encoded once.

A byte-level BPE tokenizer first splits a text into pre-tokens by GPT-2's pattern and merges nothing across
them (Radford et al., Language Models are Unsupervised Multitask Learners, 2019; `encoder.py` of
openai/gpt-2). Texts repeat most of their pre-tokens, and a look-up takes a fraction of an encoding.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

# GPT-2's pattern for ASCII. White space before digits stays with them, because a tokenizer that splits at
# digits first (`Digits`) and GPT-2's own disagree there; the tokenizer itself splits such a piece.
_ASCII = re.compile(
    r" ?[A-Za-z]+|\s+[0-9]+|[0-9]+|'(?:[sdmt]|ll|ve|re)| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII
)
# In any text, a pre-token ends before a single space between two other characters.
_SPACE = re.compile(r"(?<=\S)(?= \S)")

Pieces = Callable[[str], Sequence[str]]


def pieces_of(settings: Mapping[str, Any], added: Collection[str]) -> Pieces:
    """Return the function that cuts a text, for the tokenizer that a `tokenizer.json` describes.

    added: its added tokens that are recognized in a text.
    The ids of a text are the ids of its pieces, one after the other. A text with an added token is one piece,
    and so is every text of a tokenizer of another kind than Phi's.
    """
    if not _splits_as_gpt2(settings):
        return _whole
    if not added:
        return _cut
    contains = re.compile("|".join(map(re.escape, sorted(added, key=len)))).search
    return lambda text: _whole(text) if contains(text) else _cut(text)


def _cut(text: str) -> Sequence[str]:
    return _ASCII.findall(text) if text.isascii() else _SPACE.split(text)


def _whole(text: str) -> Sequence[str]:
    return (text,)


def _splits_as_gpt2(settings: Mapping[str, Any]) -> bool:
    """Return whether the tokenizer is a BPE whose last step before the merges is GPT-2's pattern.

    The only step before it may be one that splits at digits.
    """
    model, splitter = settings.get("model") or {}, settings.get("pre_tokenizer") or {}
    *first, last = splitter.get("pretokenizers", [splitter]) or [{}]
    return (
        model.get("type") == "BPE"
        and not model.get("dropout")
        and settings.get("normalizer") is None
        and all(step.get("type") == "Digits" for step in first)
        and last.get("type") == "ByteLevel"
        and last.get("use_regex", True)
        and not last.get("add_prefix_space", True)
    )
