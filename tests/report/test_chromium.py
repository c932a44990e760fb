"""The report in a real browser: on a phone, in the dark, by keyboard, with hostile questions."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from steadyphi.prompts.formats import FORMATS
from steadyphi.report import write_report
from tests.report import chromium, example
from tests.report.test_colours import DARK, LIGHT

pytestmark = pytest.mark.skipif(chromium.FOUND is None, reason=chromium.ABSENT)


def pixels(tab: chromium.Tab, path: Path) -> NDArray[np.int_]:
    """Return what the window shows: (height, width, 3) numbers from 0 to 255."""
    from matplotlib.image import imread

    chromium.settle(tab)
    tab.view(path)
    return (imread(path)[:, :, :3] * 255).round().astype(int)


def amount(picture: NDArray[np.int_], colour: str) -> int:
    """Return how many pixels have a colour, such as #8a5a00."""
    wanted = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return int((picture == wanted).all(axis=2).sum())


def test_nothing_is_fetched_and_nothing_complains(tab: chromium.Tab, report: Path) -> None:
    tab.open(report)
    chromium.unfold(tab, "items")
    prompts = {prompt for item in example.experiment().answers.items for prompt in item.prompts}
    for n in range(len(example.HOSTILE)):
        tab.value(f"document.querySelector('#cell-{n}-0').click()")
        assert tab.value("document.querySelector('#item pre').textContent") in prompts
        tab.value("$('item').close()")
    requests = [e["request"]["url"] for e in tab.names("Network.requestWillBeSent")]
    assert requests == [report.as_uri()]
    assert not tab.names("Log.entryAdded") and not tab.names("Runtime.exceptionThrown")
    assert not tab.names("Runtime.consoleAPICalled")


def test_the_policy_holds_where_something_slips_in(tab: chromium.Tab, report: Path) -> None:
    tab.open(report)
    tab.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.owned = 1\">')")
    tab.value(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.owned = 1'}))"
    )
    assert tab.value("window.owned") is None
    assert any("Content Security Policy" in e["entry"]["text"] for e in tab.names("Log.entryAdded"))


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_never_scrolls_sideways(tab: chromium.Tab, report: Path, width: int) -> None:
    tab.open(report, width=width)
    assert tab.value(chromium.OVERFLOW) == 0
    assert tab.value("document.documentElement.scrollHeight") < (2700 if width < 400 else 2100)  # folded
    tab.value("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert tab.value("document.querySelectorAll('details[open]').length") > 20
    assert tab.value(chromium.OVERFLOW) == 0


def test_names_stand_above_their_lanes_on_a_phone_and_beside_them_elsewhere(
    tab: chromium.Tab, report: Path
) -> None:
    places = """(() => { const row = document.querySelector('#ranking .row.default');
        const [a, b] = ['.name', '.lane'].map((c) => row.querySelector(c).getBoundingClientRect());
        return [b.top >= a.bottom, b.left >= a.right, b.width]; })()"""
    tab.open(report, width=360)
    chromium.unfold(tab, "ranking")
    above, _, width = tab.value(places)
    assert above and width > 300
    tab.open(report, width=1280)
    chromium.unfold(tab, "ranking")
    above, beside, _ = tab.value(places)
    assert not above and beside


def test_dark_mode(tab: chromium.Tab, report: Path) -> None:
    colours = """[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
        getComputedStyle(document.querySelector('.heatmap .s9')).backgroundColor]"""
    tab.open(report)
    light = tab.value(colours)
    tab.open(report, dark=True)
    dark = tab.value(colours)
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert sum(map(int, dark[0][4:-1].split(","))) < 120 < 500 < sum(map(int, dark[1][4:-1].split(",")))


def test_the_first_screen_is_one_screen_and_two_on_a_phone(tab: chromium.Tab, report: Path) -> None:
    ends = "document.querySelector('.first').getBoundingClientRect().bottom"
    tab.open(report, width=1280, height=900)
    assert (
        tab.value(ends) <= 900
        and tab.value("document.querySelector('.alarms').getBoundingClientRect().bottom") <= 900
    )
    tab.open(report, width=390, height=844)
    assert tab.value(ends) <= 2 * 844


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_picture_has_a_mark_for_each_format_and_run(
    tab: chromium.Tab, report: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    colours = DARK if dark else LIGHT
    tab.open(report, width=width, height=844, dark=dark)
    tab.value("document.querySelector('.slopes').scrollIntoView()")
    seen = pixels(tab, tmp_path / "seen.png")
    formats = len(FORMATS) + len(example.UNSEEN)
    assert amount(seen, colours["ground"]) > seen.size / 3 / 2
    assert amount(seen, colours["run1"]) > 40 * formats  # a square of 8 by 8 pixels, some behind circles
    assert amount(seen, colours["run0"]) > 8 * formats
    tab.value("document.querySelectorAll('.slot').forEach((slot) => slot.remove())")
    without = pixels(tab, tmp_path / "without.png")
    # On a phone a part of the picture is out of sight.
    assert amount(seen, colours["run1"]) - amount(without, colours["run1"]) > 15 * formats


def test_the_axis_stays_in_sight(tab: chromium.Tab, report: Path) -> None:
    for width in (390, 1280):
        tab.open(report, width=width, height=600)
        chromium.unfold(tab, "ranking")
        tab.value("document.documentElement.style.scrollBehavior = 'auto'; $('ranking').scrollIntoView()")
        tab.value("scrollBy(0, 500)")
        assert tab.value("document.querySelector('#ranking .axis').getBoundingClientRect().top") == 0


def test_the_heads_of_rows_stay_in_sight_when_a_table_scrolls(tab: chromium.Tab, report: Path) -> None:
    tab.open(report, width=390)
    chromium.unfold(tab, "skills")
    places = """(() => { const table = document.querySelector('#skills .heatmap'), box = table.parentElement;
        box.scrollLeft = 150;
        const place = (selector) => table.querySelector(selector).getBoundingClientRect();
        const head = place('tbody th'), cell = place('tbody td');
        return [box.scrollLeft, head.left - box.getBoundingClientRect().left, cell.left < head.right]; })()"""
    assert tab.value(places) == [150, 0, True]


def test_on_paper_everything_is_open(tab: chromium.Tab, report: Path) -> None:
    tab.open(report)
    tab.call("Emulation.setEmulatedMedia", media="print")
    heights = (
        "[...document.querySelectorAll('main .fold')].map((fold) => fold.getBoundingClientRect().height)"
    )
    printed = tab.value(heights)
    assert sum(height > 100 for height in printed) == len(printed) - 1  # all but the table of single answers
    tab.call("Emulation.setEmulatedMedia", media="")
    tab.value("dispatchEvent(new Event('beforeprint'))")
    assert tab.value("document.querySelectorAll('details:not([open])').length") == 0
    tab.value("dispatchEvent(new Event('afterprint'))")
    assert tab.value("document.querySelectorAll('details[open]').length") == 0
    paper = base64.b64decode(tab.call("Page.printToPDF", printBackground=True)["data"])
    assert paper.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", paper)) > 10


def test_a_link_opens_its_section(tab: chromium.Tab, report: Path) -> None:
    tab.open(report)
    tab.value("location.hash = 'atoms'")
    tab.value("new Promise((done) => setTimeout(done, 50))")
    assert tab.value("[...document.querySelectorAll('.fold[open]')].map((f) => f.parentElement.id)") == [
        "atoms"
    ]


def test_by_keyboard(tab: chromium.Tab, report: Path) -> None:
    tab.open(report)
    focus = "document.activeElement.textContent || document.activeElement.id"
    tab.press("Tab", 9)
    assert tab.value(focus) == "Skip to the results"
    assert tab.value("document.activeElement.getBoundingClientRect().left") > 0  # it can be seen now
    for _ in range(2):  # the prompt, then its button
        tab.press("Tab", 9)
    assert tab.value(focus) == "Copy prompt"
    assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.press("Enter", 13, "\r")
    announced = "document.querySelector('.said').textContent"
    tab.value(f"new Promise((done) => setInterval(() => {announced} && done(), 20))")
    assert tab.value(announced) in ("Copied.", "Selected: press Ctrl+C.")
    for _ in range(2):  # the warnings, then the first section
        tab.press("Tab", 9)
    tab.press("Enter", 13, "\r")
    assert tab.value("document.activeElement.textContent") == "Formats, from best to worst"
    assert tab.value("$('ranking').querySelector('.fold').open") is True


def test_what_is_copied_is_the_prompt(tab: chromium.Tab, report: Path) -> None:
    tab.open(report)
    tab.value("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    tab.value("document.querySelector('.copy').click()")
    assert tab.value("window.copied") == "Instruct: {question}\nOutput:\n"


def test_without_javascript(tab: chromium.Tab, report: Path) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(report)
        nodes = tab.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        note = tab.call("DOM.querySelector", nodeId=nodes, selector="noscript p")["nodeId"]
        assert "items.csv" in tab.call("DOM.getOuterHTML", nodeId=note)["outerHTML"]
        for selector in ("#browse", ".copy"):
            node = tab.call("DOM.querySelector", nodeId=nodes, selector=selector)["nodeId"]
            assert "hidden" in tab.call("DOM.getAttributes", nodeId=node)["attributes"]
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)


def test_many_formats_stay_quick(tab: chromium.Tab, tmp_path: Path) -> None:
    whole = example.experiment(runs=1)
    run = whole.runs[0]
    grammar = [replace(run.variants[n % 24], name=f"grammar-{n}", family="grammar") for n in range(300)]
    write_report(replace(whole, runs=[replace(run, variants=run.variants + grammar)]), tmp_path)
    tab.open(tmp_path / "report.html", width=360)
    chromium.unfold(tab, "ranking")
    assert tab.value(chromium.OVERFLOW) == 0
    assert tab.value("document.querySelectorAll('#ranking svg.lane').length") < 70
    gaps = tab.value("[...document.querySelectorAll('#ranking .gap')].map((g) => parseInt(g.textContent))")
    assert gaps == [300 - 30]
    assert tab.value(chromium.LOADED) < 60_000  # also where other work takes the processor
