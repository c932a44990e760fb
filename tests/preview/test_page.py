"""preview.html: it shows the prepared tokens and what the audit found, whatever the rows hold."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from steadyphi.data.prepare import prepare
from steadyphi.data.prepared import read, samples
from steadyphi.data.tables import read_examples, read_table
from steadyphi.preview.lengths import MOST, lengths, step
from steadyphi.preview.page import NAME, write_page
from steadyphi.settings.compose import compose
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT
from tests.report import chromium
from tests.report.test_colours import contrast

HOSTILE = "</pre><script>window.owned = 1</script><img src=x onerror='window.owned = 1'> \u202e <|im_start|>"
Counts = dict[str, float]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, phi_tiny: Path) -> tuple[Path, Counts]:
    """Prepare a file with a row of everything that the page can show."""
    folder = tmp_path_factory.mktemp("preview")
    rows = [{"instruction": f"Double the number {n}.\n\tNow!", "response": str(2 * n)} for n in range(60)]
    rows += [
        {"instruction": f"{n}? {HOSTILE}", "response": f"caf\u00c3\u00a9 🙂 {n} {HOSTILE}"} for n in range(30)
    ]
    rows += [{"instruction": f"Write {n}.", "response": "word " * 300} for n in range(6)]
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    section = {
        "valid": 4,
        "items": 20,
        "styles": ["phi2", "qa"],
        "grammar": 0.5,
        "too_long": "truncate",
        "context": 256,
    }
    params = {"data": "jsonl", "data_file": str(file), "task": "textbook", "prepare": section}
    settings, tokenizer = compose(params, ROOT / "conf").prepare, TextTokenizer(phi_tiny)
    counts = prepare(settings, file, tokenizer, folder)
    write_page(folder, tokenizer, counts, "rows.jsonl")
    return folder, counts


def test_samples_are_the_tokens_of_the_file(made: tuple[Path, Counts], phi_tiny: Path) -> None:
    folder, _ = made
    page, tokenizer = (folder / NAME).read_text(), TextTokenizer(phi_tiny)
    path = folder / "train.parquet"
    content = read(path, tokenizer.eos_id)
    shown = samples(path, content)
    blocks = re.findall('<pre class="tokens">(.*?)</pre>', page, re.S)
    assert len(blocks) == sum(map(len, shown.values())) >= 10
    written = {(r["id"], r["style"], tuple(r["tokens"])) for r in read_table(path)}
    for (_, style), entries in shown.items():
        for row, example in entries:
            assert (row, style, tuple(example.tokens)) in written
            block = blocks.pop(0)
            classes = re.findall('<span class="(prompt|loss|loss end)"', block)
            assert len(classes) == len(example.tokens)
            assert len(classes) - classes.count("prompt") == example.supervised
            assert classes.count("loss end") == (example.tokens[-1] == tokenizer.eos_id)
            text = html.unescape(re.sub("<[^>]*>", "", block)).replace("▸", "").replace("◂", "")
            if text.isascii() or "🙂" not in text:
                plain = (
                    text.replace("⏎\n", "\n")
                    .replace("␣", " ")
                    .replace("⇥", "\t")
                    .replace("\\u202e", "\u202e")
                )
                assert plain == tokenizer.decode(example.tokens)


def test_measures_are_those_of_the_examples(made: tuple[Path, Counts], phi_tiny: Path) -> None:
    folder, counts = made
    end = TextTokenizer(phi_tiny).eos_id
    examples = read_examples(folder / "train.parquet")
    content = read(folder / "train.parquet", end)
    assert content.lengths.tolist() == np.bincount([len(e.tokens) for e in examples]).tolist()
    assert (
        content.tokens == counts["train_tokens"] and content.supervised == counts["train_supervised_tokens"]
    )
    ended = sum(e.tokens[-1] == end for e in examples)
    assert ended < len(examples) == content.answers and content.ended == ended
    assert counts["end_token_coverage"] == pytest.approx(ended / len(examples), abs=1e-6)


def test_dialogues_are_counted_turn_by_turn(tmp_path: Path, phi_tiny: Path) -> None:
    from steadyphi.data.packing import Example
    from steadyphi.data.tables import write_examples

    examples = [
        Example([5, 6, 7, 8, 9, 10, 0], 2, later=[4, 5]),
        Example([5, 6, 0], 0),
        Example([5, 6, 7, 8], 1),
    ]
    path = tmp_path / "train.parquet"
    write_examples(path, ["a-row-1", "b-c-row-1-again-1", "b-c/x.jsonl-row-2"], ["qa", "qa", "qa"], examples)
    assert read(path, 0).styles == {("", "qa"): 3}
    sources = ["a", "b", "b-c"]
    content = read(path, 0, sources)
    assert content.supervised == sum(e.supervised for e in examples)
    assert (content.answers, content.ended) == (4, 3)
    assert content.styles == {("a", "qa"): 1, ("b-c", "qa"): 2}
    shown = [row for row, _ in samples(path, content, sources)[("b-c", "qa")]]
    assert shown == ["b-c-row-1-again-1", "b-c/x.jsonl-row-2"]


def test_what_was_found_is_on_the_page(made: tuple[Path, Counts]) -> None:
    folder, counts = made
    page = (folder / NAME).read_text()
    assert (
        "<script" not in page
        and "<img" not in page
        and "\u202e" not in page
        and "http" not in page.split("</head>")[1]
    )
    for text in ("are not followed by the end token", "wrongly decoded", "the text of a special token"):
        assert text in page
    assert counts["garbled_rows"] >= 26 and "&lt;|im_start|&gt;" in page


def test_the_same_data_give_the_same_bytes(made: tuple[Path, Counts], phi_tiny: Path) -> None:
    folder, counts = made
    before = (folder / NAME).read_bytes()
    write_page(folder, TextTokenizer(phi_tiny), counts, "rows.jsonl")
    assert (folder / NAME).read_bytes() == before


def test_the_bars_hold_every_example() -> None:
    for longest in (1, 7, 40, 59, 512, 2048, 123_456):
        assert longest // step(longest) < MOST
        counts = np.zeros(longest + 1, np.int64)
        counts[[longest // 2, longest]] += (3, 4)
        cells = re.findall('class="figure">([\\d,]+)<', lengths(counts))
        assert sum(int(cell.replace(",", "")) for cell in cells) == 7
    assert [step(n) for n in (19, 20, 39, 40, 99, 100, 2048)] == [1, 2, 2, 5, 5, 10, 200]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Tab]:
    if chromium.FOUND is None:
        pytest.skip(chromium.ABSENT)
    with chromium.tab(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def test_in_a_browser(made: tuple[Path, Counts], tab: chromium.Tab) -> None:
    page = made[0] / NAME
    for width in (360, 1280):
        tab.open(page, width=width)
        tab.value("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert tab.value("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert tab.value("window.owned") is None
        assert [e["request"]["url"] for e in tab.names("Network.requestWillBeSent")] == [page.as_uri()]
        assert not tab.names("Log.entryAdded") and not tab.names("Runtime.exceptionThrown")
        assert tab.value("document.querySelector('.histogram rect').getBoundingClientRect().height") > 5


def test_colours_can_be_told_apart() -> None:
    style = (ROOT / "steadyphi" / "preview" / "style.css").read_text()
    for block in re.findall(r":root \{(.*?)\}", style, re.S):
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        pairs = [("ink", "ground"), ("ink", "raised"), ("ink", "alarm"), ("quiet", "ground")]
        for text, ground in [*pairs, ("loss-ink", "loss"), ("seam", "ground"), ("bar", "ground")]:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
