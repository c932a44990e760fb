"""The report in a real browser: on a phone, in the dark, by keyboard, with hostile questions."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from steadyphi.report import write_report
from tests.report import chromium, example

pytestmark = pytest.mark.skipif(chromium.FOUND is None, reason=chromium.ABSENT)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(example.experiment(), folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Tab]:
    with chromium.tab(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def choose(tab: chromium.Tab, kind: str) -> str:
    tab.value(f"$('show').value = '{kind}'; $('show').dispatchEvent(new Event('change'))")
    return str(tab.value("$('place').textContent"))


def search(tab: chromium.Tab, words: str) -> str:
    tab.value(f"$('search').value = {json.dumps(words)}; $('search').dispatchEvent(new Event('input'))")
    return str(tab.value("$('place').textContent"))


def step(tab: chromium.Tab, key: str) -> str:
    tab.value(f"$('{key}').click()")
    return str(tab.value("$('place').textContent"))


def test_nothing_is_fetched_and_nothing_complains(tab: chromium.Tab, report: Path) -> None:
    tab.open(report)
    for _ in range(len(example.HOSTILE)):
        step(tab, "next")
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


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(tab: chromium.Tab, report: Path, width: int) -> None:
    tab.open(report, width=width)
    assert tab.value(OVERFLOW) == 0
    tab.value("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert tab.value("document.querySelectorAll('details[open]').length") > 40
    assert tab.value(OVERFLOW) == 0


def test_names_stand_above_their_lanes_on_a_phone_and_beside_them_elsewhere(
    tab: chromium.Tab, report: Path
) -> None:
    places = """(() => { const row = document.querySelector('#ranking .row.default');
        const [a, b] = ['.name', '.lane'].map((c) => row.querySelector(c).getBoundingClientRect());
        return [b.top >= a.bottom, b.left >= a.right, b.width]; })()"""
    tab.open(report, width=360)
    above, _, width = tab.value(places)
    assert above and width > 300
    tab.open(report, width=1280)
    above, beside, _ = tab.value(places)
    assert not above and beside


def test_dark_mode(tab: chromium.Tab, report: Path) -> None:
    colours = """[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
        getComputedStyle(document.querySelector('.heatmap .s9 rect')).fill]"""
    tab.open(report)
    light = tab.value(colours)
    tab.open(report, dark=True)
    dark = tab.value(colours)
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert sum(map(int, dark[0][4:-1].split(","))) < 120 < 500 < sum(map(int, dark[1][4:-1].split(",")))


def test_single_questions_are_filtered_and_found(tab: chromium.Tab, report: Path) -> None:
    items = example.experiment().answers.items
    tab.open(report)
    assert tab.value("$('place').textContent") == f"1 of {len(items)}"
    differ = sum(any(len(set(run.chosen)) > 1 for run in item.runs) for item in items)
    assert differ == len(items) - 1 and choose(tab, "differ") == f"1 of {differ}"
    runs = sum(item.runs[0].chosen != item.runs[1].chosen for item in items)
    assert choose(tab, "runs") == f"1 of {runs}"
    assert choose(tab, "never") == "none found" and tab.value("$('item').textContent") == ""
    choose(tab, "all")
    assert search(tab, "THING NUMBER 42") == "1 of 1" and "number 42?" in tab.value("$('item').textContent")
    assert search(tab, "") == f"1 of {len(items)}"
    assert step(tab, "previous") == f"{len(items)} of {len(items)}" and step(tab, "next").startswith("1 of")


def test_an_item_shows_its_answers_and_its_prompts(tab: chromium.Tab, report: Path) -> None:
    item = example.experiment().answers.items[3]
    tab.open(report)
    for _ in range(3):
        step(tab, "next")
    tab.value("$('open').click()")
    prompts = tab.value("[...document.querySelectorAll('#item pre')].map((p) => p.textContent)")
    assert prompts == item.prompts  # the very text, signs for white space or not
    assert tab.value("document.querySelector('#item .question').textContent") == item.question
    answers = tab.value(
        "[...document.querySelectorAll('#item summary > span:nth-child(3)')].map((a) => a.textContent)"
    )
    tuned = item.runs[1]
    for n, text in enumerate(answers):
        word = "✓ right" if tuned.chosen[n] == item.answer else "✗ wrong"
        chosen, share = item.choices[tuned.chosen[n]], tuned.probability[n]
        assert text == f"tuned: {word}, {chosen} {100 * share:.1f}%"
    sign = "getComputedStyle(document.querySelector('#item .ws'), '::before').content"
    assert tab.value(sign) != "none"
    tab.value("$('marks').click()")
    assert tab.value(sign) == "none"


def test_by_keyboard(tab: chromium.Tab, report: Path) -> None:
    tab.open(report)
    focus = "document.activeElement.textContent || document.activeElement.id"
    tab.press("Tab", 9)
    assert tab.value(focus) == "Skip to the results"
    assert tab.value("document.activeElement.getBoundingClientRect().left") > 0  # it can be seen now
    tab.press("Enter", 13, "\r")
    for _ in range(2):  # the prompt, then its button
        tab.press("Tab", 9)
    assert tab.value(focus) == "Copy prompt"
    assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.press("Enter", 13, "\r")
    said = "document.querySelector('.said').textContent"
    tab.value(f"new Promise((done) => setInterval(() => {said} && done(), 20))")
    assert tab.value(said) in ("Copied.", "Selected: press Ctrl+C.")
    tab.value("$('next').focus()")
    tab.press("Enter", 13, "\r")
    assert tab.value("$('place').textContent").startswith("2 of")
    assert tab.value("document.activeElement.id") == "next"  # where it was, for the next step


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


def test_a_large_report_stays_quick(tab: chromium.Tab, tmp_path: Path) -> None:
    whole = example.experiment(runs=1)
    run, items = whole.runs[0], whole.answers.items
    grammar = [replace(run.variants[n % 24], name=f"grammar-{n}", family="grammar") for n in range(300)]
    many = [replace(item, id=f"{n}-{item.id}") for n in range(7) for item in items]
    large = replace(
        whole,
        runs=[replace(run, variants=run.variants + grammar)],
        answers=replace(whole.answers, items=many),
    )
    write_report(large, tmp_path)
    tab.open(tmp_path / "report.html", width=360)
    assert tab.value(OVERFLOW) == 0
    assert tab.value("document.querySelectorAll('#ranking svg.lane').length") < 70
    gaps = tab.value("[...document.querySelectorAll('#ranking .gap')].map((g) => parseInt(g.textContent))")
    assert len(gaps) == 2 and sum(gaps) == 324 - 61  # around the default, which is among the middle ones
    assert tab.value("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 10_000
