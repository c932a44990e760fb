"""What is suspicious about the text of a row: special tokens, wrongly decoded characters, empty answers."""

import re
import unicodedata
from collections.abc import Collection

from steadyphi.data.row_formats import Dialogue
from steadyphi.data.rows import END_STRINGS

# The control tokens of other chat formats, which no model should learn as ordinary characters.
CHAT_STRINGS = ("[INST]", "[/INST]", "<<SYS>>", "<start_of_turn>", "<bos>")
CONTROL_TOKEN = r"<\|[a-z0-9_ ]{1,40}\|>"  # as <|im_start|>, and almost every special token since GPT-2
# UTF-8 that was read as Windows-1252 or Latin-1: the letter that a first byte becomes, and then what the
# other bytes become. `é` is read as `Ã©`, `“` as `â€œ`. Letters that precede » in French are left out.
_OTHER = "[\\x80-\\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
MISREAD = re.compile(f"[ÂÃÄÅËÎÏÐÑ]{_OTHER}|[âãäåæçï]{_OTHER}{{2}}|ð{_OTHER}{{3}}")
# U+FFFD stands for bytes that could not be decoded. No text contains the other control characters; a carriage
# return is half of a line end of Windows, and the model would learn to write it.
UNREADABLE = re.compile("[\ufffd\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]")

SPECIAL, GARBLED, EMPTY = "special_text", "garbled", "empty_answer"
MEANINGS = {
    SPECIAL: "the text of a special token, which is learnt as ordinary characters",
    GARBLED: "characters that look wrongly decoded, or carriage returns",
    EMPTY: "an answer without a letter, a number or a symbol",
}


class RowChecks:
    """Finds suspicious rows. `special` are the texts of the tokenizer's special tokens."""

    def __init__(self, special: Collection[str]) -> None:
        known = sorted({*special, *END_STRINGS, *CHAT_STRINGS}, key=len, reverse=True)
        self._special = re.compile("|".join([*map(re.escape, known), CONTROL_TOKEN]))

    def suspicions(self, dialogue: Dialogue) -> dict[str, str]:
        """Return what is suspicious: a key of `MEANINGS`, and the text that shows it."""
        texts = [dialogue.system, *(text for turn in dialogue.turns for text in turn)]
        shown: dict[str, str] = {}
        for text in texts:
            if match := self._special.search(text):
                shown.setdefault(SPECIAL, match[0])
            plain = text.isascii() and text.isprintable()
            if not plain and (bad := garbled(text)):
                shown.setdefault(GARBLED, bad)
        empty = [answer for _, answer in dialogue.turns if not _says_something(answer)]
        if empty:
            shown[EMPTY] = empty[0]
        return shown


def garbled(text: str) -> str | None:
    """Return the first characters that look wrongly decoded, or None."""
    match = UNREADABLE.search(text) or MISREAD.search(text)
    return match[0] if match else None


def _says_something(answer: str) -> bool:
    """Return whether a text has a letter, a number or a symbol such as `+` (Unicode's L, N and S)."""
    return any(unicodedata.category(character)[0] in "LNS" for character in answer)
