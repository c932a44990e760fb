"""Progress in a plain log: lines of their own, with rate and time left."""

import re

import pytest

from steadyphi.progress import Progress


def test_plain_log(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("convert", 4000, "tokens", every=0.0)
    for _ in range(4):
        progress.add(1000, "loss 2")
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4  # one a report, the last written once
    for line, share in zip(lines, (25, 50, 75, 100), strict=True):
        pattern = rf"convert: +{share}% \| [\d.]+[kMG]? tokens/s \| \d+:\d\d so far, \d+:\d\d left \| loss 2"
        assert re.fullmatch(pattern, line), line
    assert "\r" not in "".join(lines)
