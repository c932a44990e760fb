"""Text to token ids and back, with the checkpoint's tokenizer; nothing is added or stripped."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from steadyphi.errors import SteadyPhiError

END_OF_TEXT = "<|endoftext|>"  # Phi's only special token; config.json of Phi-1.5 does not name its id
END_OF_TEXT_ID = 50256  # its id in Phi-1.5 and Phi-2, for a checkpoint without a tokenizer
DECLARING = ("tokenizer_config.json", "config.json", "generation_config.json")
MOST_BYTES = 64 << 20  # of a file of settings; that of Phi-2's tokenizer has 2 MB


class TextTokenizer:
    """The tokenizer of a checkpoint folder.

    eos_id: the token that ends a document, appended in training. eos_ids: all tokens that end a generated
    text, as the folder's files declare them.
    size: the largest token id plus one; the model needs a row for each.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        try:
            # Reads JSON alone: no remote code, no guess at a tokenizer class.
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every cause
            reason = " ".join(str(error).split())[:200]
            raise SteadyPhiError(f"{path}: no tokenizer could be read from it ({reason})") from None
        # The file may ask for padding or truncation, and a special token in a user's text is text, because
        # only the end of a document may end it.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        # The library renumbers added tokens that leave a gap; the weights may have rows for the stated ids.
        stated = [
            token.get("id") for token in _settings(path).get("added_tokens", []) if isinstance(token, dict)
        ]
        ids = [*vocabulary.values(), *(number for number in stated if type(number) is int)]
        self.size: int = max(ids, default=-1) + 1
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {token.content: number for number, token in added.items() if token.special}
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys(self._end_tokens(folder)))
        if not self.eos_ids:
            raise SteadyPhiError(
                f"{path}: has no {END_OF_TEXT} token, and no file beside it names another token that ends a "
                "text; name it as eos_token in tokenizer_config.json"
            )
        self.eos_id: int = self.eos_ids[0]

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, in which special tokens are ordinary text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text; several times as fast as one by one."""
        return [list(e.ids) for e in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def encode_template(self, text: str) -> list[int]:
        """Return the ids of `text`, in which special tokens are recognized: for text that no user wrote."""
        if not self._special:
            return self.encode(text)
        names = sorted(self._special, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, names))})", text)
        ids: list[int] = []
        for part in parts:
            ids += [self._special[part]] if part in self._special else self.encode(part) if part else []
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens included."""
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


def _settings(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file, empty if it is absent or no object of settings."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        values = json.loads(data) if len(data) <= MOST_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
