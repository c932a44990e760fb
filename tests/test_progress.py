"""Progress in a plain log: lines of their own, with rate and time left."""

import re

import pytest

from steadyphi.progress import Progress, sized


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


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_000, "1.00 kB"),
        (337_512, "337.51 kB"),
        (51_800_000, "51.80 MB"),
        (5_559_367_680, "5.56 GB"),
        (2_000_000_000_000, "2,000.00 GB"),
    ],
)
def test_sizes_have_a_unit_in_which_they_can_be_read(count: int, text: str) -> None:
    assert sized(count) == text
