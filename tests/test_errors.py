"""Messages: one line that cannot control a terminal, and that every terminal can show."""

import os
import subprocess
import sys

import pytest

from steadyphi.errors import LONGEST, SteadyPhiError, mask
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x: é 😀", "x: é 😀"),
        ("a\nerror: forged\x1b[2J\r", "a\\nerror: forged\\x1b[2J\\r"),
        ("\u202e\u2028\ud800", "\\u202e\\u2028\\ud800"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert str(SteadyPhiError(text)) == shown


def test_a_long_message_keeps_its_begin_and_its_end() -> None:
    text = str(SteadyPhiError("x.json: " + "y" * 1_000_000 + "; fetch it again"))
    assert text.startswith("x.json: yyy") and " … " in text and text.endswith("yyy; fetch it again")
    assert len(text) <= LONGEST + 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sftp://me:secret@host/dir", "sftp://***@host/dir"),
        (
            "cannot open s3::https://me:p%40ss@host:1/a@b: refused",
            "cannot open s3::https://***@host:1/a@b: refused",
        ),
        ("https://host/a?sig=secret&x=1", "https://host/a?sig=***&x=1"),
        ("hf_abcdefghijklmnopqrst is not valid", "hf_*** is not valid"),
        ("s3://bucket/me@host", "s3://bucket/me@host"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert mask(text) == shown


PROGRAM = """
import sys
from steadyphi.errors import replace_unencodable
replace_unencodable()
print("\\u2026\\xe9\\ud800")
sys.exit("\\u2026 \\U0001f600")
"""


@pytest.mark.parametrize(
    ("environment", "out", "error"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, b"\\u2026\\xe9\\ud800\n", b"\\u2026 \\U0001f600\n"),
        ({"PYTHONIOENCODING": "latin-1:strict"}, b"\\u2026\xe9\\ud800\n", b"\\u2026 \\U0001f600\n"),
        ({"PYTHONIOENCODING": "utf-8"}, "…é\\ud800\n".encode(), "… 😀\n".encode()),
    ],
)
def test_the_terminal_lacks_a_character(environment: dict[str, str], out: bytes, error: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (out, error)
