"""The page's colours can be told apart: by the contrast that WCAG 2.1 asks for, in both schemes."""

import itertools
import re
from pathlib import Path

import pytest

from steadyphi.report import heatmap, page

STYLE = "".join((Path(page.__file__).parent / name).read_text() for name in page.STYLES)
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)
)


def luminance(colour: str) -> float:
    """WCAG 2.1, definition of relative luminance."""
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    """WCAG 2.1, definition of contrast ratio."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)  # the known least grey on white


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks(colours: dict[str, str]) -> None:
    for text, ground in itertools.product(
        ("ink", "quiet", "run0", "run1", "right", "wrong"), ("ground", "raised")
    ):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["ink"], colours["alarm"]) >= 4.5
    for line in ("rule", "focus"):  # what is not text needs 3
        assert contrast(colours[line], colours["ground"]) >= 3


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_shades(colours: dict[str, str]) -> None:
    shades = [colours[f"s{n}"] for n in range(heatmap.SHADES)]
    for n, colour in enumerate(shades):
        rule = STYLE.split(f".heatmap .s{n} {{")[1].split("}")[0]
        ink = colours["high-ink" if "high-ink" in rule else "low-ink"]
        assert contrast(colour, ink) >= 4.5, n
        assert f"background: var(--s{n});" in rule
    order = [luminance(c) for c in shades]
    assert order == sorted(order, reverse=colours is LIGHT)  # more is ever further from the ground
    assert all(contrast(a, b) > 1.08 for a, b in itertools.pairwise(shades))


def test_dark_changes_every_colour() -> None:
    assert LIGHT.keys() == DARK.keys() and not set(LIGHT.items()) & set(DARK.items())
