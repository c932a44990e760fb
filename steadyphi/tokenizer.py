"""Text to token ids and back, with the checkpoint's own tokenizer and nothing added or stripped."""

from pathlib import Path

from tokenizers import Tokenizer

from steadyphi.errors import SteadyPhiError

END_OF_TEXT = "<|endoftext|>"  # Phi's only special token; config.json of Phi-1.5 does not name its id
END_OF_TEXT_ID = 50256  # its id in Phi-1.5 and Phi-2, for a checkpoint without a tokenizer


class TextTokenizer:
    """The `tokenizer.json` of a checkpoint folder."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        try:
            # Reads JSON alone: no remote code, no guess at a tokenizer class.
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every cause
            raise SteadyPhiError(f"{path}: no tokenizer could be read from it ({error})") from None
        # A file may ask for padding to eos or for cutting; and `<|endoftext|>` in a text is text, for only
        # the end of a document may end it.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        eos_id = self._tokenizer.token_to_id(END_OF_TEXT)
        if eos_id is None:
            raise SteadyPhiError(f"{path}: has no {END_OF_TEXT} token")
        self.eos_id: int = eos_id
        self.size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without any special token."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each text; several times as fast as one by one."""
        return [list(e.ids) for e in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids`, special tokens included."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))
