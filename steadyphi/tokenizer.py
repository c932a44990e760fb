"""Encodes text to token ids and decodes it with the checkpoint's tokenizer. Adds and strips nothing."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_bytes, read_object
from steadyphi.pre_tokens import pieces_of

END_OF_TEXT = "<|endoftext|>"  # Phi's only special token; config.json of Phi-1.5 does not name its id
END_OF_TEXT_ID = 50256  # its id in Phi-1.5 and Phi-2, for a checkpoint without a tokenizer
DECLARING = ("tokenizer_config.json", "config.json", "generation_config.json")


class TextTokenizer:
    """The tokenizer of a checkpoint folder.

    eos_id: the id of the token that ends a document. Training appends it.
    eos_ids: the ids of all tokens that end a generated text, as the files in the folder declare them.
    size: the largest token id plus one. The model needs at least this number of embedding rows.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        try:
            # Only reads JSON. Runs no remote code and does not guess a tokenizer class.
            self._tokenizer = Tokenizer.from_buffer(read_bytes(path))
        except Exception as error:  # the library raises Exception itself for every error
            reason = " ".join(str(error).split())[:200]
            raise SteadyPhiError(f"{path}: no tokenizer could be read from it ({reason})") from None
        # The file may enable padding or truncation. A special token in a user's text is encoded as ordinary
        # text, because only the end of a document may be an end token.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        # The library renumbers added tokens after a gap, but the weights may have rows for the stated ids.
        settings = _settings(path)
        stated = [token.get("id") for token in settings.get("added_tokens", []) if isinstance(token, dict)]
        ids = [*vocabulary.values(), *(number for number in stated if type(number) is int)]
        self.size: int = max(ids, default=-1) + 1
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {token.content: number for number, token in added.items() if token.special}
        self._pieces = pieces_of(settings, [token.content for token in added.values() if not token.special])
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys(self._end_tokens(folder)))
        if not self.eos_ids:
            raise SteadyPhiError(
                f"{path}: has no {END_OF_TEXT} token, and no file in its folder names another end token; "
                "set eos_token in tokenizer_config.json"
            )
        self.eos_id: int = self.eos_ids[0]

    @property
    def special_texts(self) -> tuple[str, ...]:
        """The texts of the special tokens."""
        return tuple(self._special)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`. Special tokens in it are encoded as ordinary text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, as `encode` does. Pieces that texts share are encoded once."""
        cut = [self._pieces(text) for text in texts]
        distinct = list(dict.fromkeys(chain.from_iterable(cut)))
        encoded = self._tokenizer.encode_batch(distinct, add_special_tokens=False)
        ids = {piece: encoding.ids for piece, encoding in zip(distinct, encoded, strict=True)}
        return [list(chain.from_iterable(map(ids.__getitem__, pieces))) for pieces in cut]

    def encode_template(self, text: str) -> list[int]:
        """Return the ids of `text`, with special tokens recognized. Only for text that no user wrote."""
        if not self._special:
            return self.encode(text)
        names = sorted(self._special, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, names))})", text)
        ids: list[int] = []
        for part in parts:
            ids += [self._special[part]] if part in self._special else self.encode(part) if part else []
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, including special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def _end_tokens(self, folder: Path) -> Iterator[int]:
        """Yield the ids of the end tokens that the folder's files declare, the tokenizer's own first."""
        for name in DECLARING:
            settings = _settings(folder / name)
            token = settings.get("eos_token")
            text = token.get("content") if isinstance(token, dict) else token
            number = self._tokenizer.token_to_id(text) if isinstance(text, str) else None
            if number is not None:
                yield number
            declared = settings.get("eos_token_id")
            for number in declared if isinstance(declared, list) else [declared]:
                if type(number) is int and 0 <= number < self.size:
                    yield number
        number = self._tokenizer.token_to_id(END_OF_TEXT)
        if number is not None:
            yield number


def missing(names: Collection[str], where: Path) -> str | None:
    """Return an error message if the files of a folder are a tokenizer's, but not the one that is read."""
    if "tokenizer.json" in names or "vocab.json" not in names:
        return None
    return (
        f"{where}: has vocab.json, but no tokenizer.json; write it with transformers: "
        "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
    )


def _settings(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if there is none."""
    try:
        return read_object(path)
    except FileNotFoundError:
        return {}
