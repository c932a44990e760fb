"""The exception for errors that the user can fix, and text that is safe to print."""

import io
import re
import sys

LONGEST = 2000  # characters of a message
_SECRETS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), "hf_***"),
    (re.compile(r"(\w://)[^/\s\"]+@"), r"\1***@"),
    (re.compile(r"([?&][^=&\s]*(?:token|key|secret|passw|sig)[^=&\s]*=)[^&\s]+", re.IGNORECASE), r"\1***"),
)


class SteadyPhiError(Exception):
    """Bad input. The message is one line: what is wrong, where (file, key, row), and what to do.

    Stages and the command line print only the message and exit with status 1. Every other
    exception is a bug in SteadyPhi and keeps its traceback. Messages contain text from files, so control
    characters in them are escaped, and a long message is cut in the middle.
    """

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST:
            message = f"{message[: LONGEST * 3 // 4]} … {message[-LONGEST // 4 :]}"
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Return `text` with each character that could control a terminal escaped, such as \\x1b or \\n."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def mask(text: str) -> str:
    """Replace tokens and passwords in a text with asterisks."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def replace_unencodable() -> None:
    """Make the standard streams escape characters that their encoding lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
