"""`make docs`: the pages build, and they have the settings, the commands and the measures of the code."""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from scripts.doc_pages import commands_page, settings_page
from steadyphi.cli.examples import EXAMPLES
from steadyphi.settings.keys import KEYS, SECTIONS
from tests.conftest import ROOT


def test_every_setting_is_in_the_table() -> None:
    page = settings_page()
    for key in KEYS - SECTIONS:
        assert f"| `{'.'.join(key)}` |" in page
    assert (
        "| `finetune.warmup_ratio` | `0.1` | share of the steps in which the learning rate rises to lr |"
        in page
    )
    assert "| `finetune.lr` | `0.0007` |" in page


def test_every_command_is_on_the_page() -> None:
    page = commands_page()
    for name, examples in EXAMPLES.items():
        assert f"\n## steadyphi {name}\n" in page
        assert all(example in page for example in examples)


@pytest.mark.slow
def test_the_pages_build_and_need_no_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    pages = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.html")}
    assert {"index.html", "data.html", "reference-settings.html", "reference-commands.html"} <= pages.keys()
    del pages["404.html"]  # for servers; its links begin at the root
    for name, text in pages.items():
        loaded = re.findall(r'<(?:script|img)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"', text)
        for address in (unescape(a or b) for a, b in loaded):
            assert (tmp_path / address.split("?")[0]).exists(), (name, address)
        for target in re.findall(r'<a [^>]*href="([^"#:]+)(?:#[^"]*)?"', text):
            assert (tmp_path / target).exists(), (name, target)
