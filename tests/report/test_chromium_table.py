"""The table of questions and formats in a real browser: filtered, searched, by keyboard, and large."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from steadyphi.prompts.formats import FORMATS
from steadyphi.report import page
from steadyphi.results.experiment import Answers, AnswerTable
from tests.report import chromium, example

pytestmark = pytest.mark.skipif(chromium.FOUND is None, reason=chromium.ABSENT)


def choose(tab: chromium.Tab, kind: str, where: int = -1) -> int:
    """Choose a filter and return the number of questions that are shown."""
    tab.value(f"$('show').value = '{kind}'; $('where').value = '{where}'")
    tab.value("$('show').dispatchEvent(new Event('input', { bubbles: true }))")
    return int(tab.value("$('place').textContent").split()[0])


def search(tab: chromium.Tab, words: str) -> int:
    tab.value(f"$('search').value = {json.dumps(words)}")
    tab.value("$('search').dispatchEvent(new Event('input', { bubbles: true }))")
    return int(tab.value("$('place').textContent").split()[0])


def test_questions_are_filtered_and_found(tab: chromium.Tab, report: Path) -> None:
    answers = example.experiment().answers
    items = answers.items
    tab.open(report)
    chromium.unfold(tab, "items")
    assert tab.value("$('place').textContent") == f"{len(items)} of {len(items)} questions"
    expected = {
        "all": len(items),
        "changed": sum(item.runs[0].chosen != item.runs[1].chosen for item in items),
        "flips-0": sum(len(set(item.runs[0].chosen)) > 1 for item in items),
        "wrong-1": sum(any(c != item.answer for c in item.runs[1].chosen) for item in items),
        "never": sum(all(item.answer not in run.chosen for run in item.runs) for item in items),
    }
    assert {kind: choose(tab, kind) for kind in expected} == expected
    where = answers.variants.index("qa")
    pairs = [(item.runs[0].chosen[where], item.runs[1].chosen[where], item.answer) for item in items]
    first = answers.variants.index("phi2")
    of_format = {
        "changed": sum(a != b for a, b, _ in pairs),
        "gained": sum(a != right == b for a, b, right in pairs),
        "lost": sum(b != right == a for a, b, right in pairs),
        "wrong-0": sum(a != right for a, _, right in pairs),
        "flips-1": sum(item.runs[1].chosen[where] != item.runs[1].chosen[first] for item in items),
        "never": sum(a != right != b for a, b, right in pairs),
    }
    assert {kind: choose(tab, kind, where) for kind in of_format} == of_format
    assert len(set(of_format.values())) > 3  # the filters are told apart
    choose(tab, "all")
    assert search(tab, "THING NUMBER 42") == 1
    assert "number 42?" in tab.value("document.querySelector('.body .ask').textContent")
    assert (
        search(tab, "nothing has this") == 0
        and tab.value("document.querySelectorAll('.body .line').length") == 0
    )


def test_the_cells_show_what_was_chosen(tab: chromium.Tab, report: Path) -> None:
    answers = example.experiment().answers
    tab.open(report)
    chromium.unfold(tab, "items")
    order = tab.value("JSON.parse($('cells').textContent).order")
    for row in (3, 4, 7):
        item = answers.items[row]
        shown = tab.value(
            f"[...document.querySelectorAll('[id^=\"cell-{row}-\"]')].map((c) => c.textContent)"
        )
        assert shown == [
            "".join("✓" if run.chosen[n] == item.answer else "ABCD"[run.chosen[n]] for run in item.runs)
            for n in order
        ]
    right = [sum(item.runs[1].chosen[n] == item.answer for item in answers.items) for n in order]
    heads = tab.value("[...document.querySelectorAll('.column .run1')].map((c) => Number(c.textContent))")
    assert heads == [math.floor(100 * count / len(answers.items) + 0.5) for count in right]


def test_a_cell_opens_the_prompt_and_the_probabilities(tab: chromium.Tab, report: Path) -> None:
    answers = example.experiment().answers
    item = answers.items[3]  # the question with white space of every kind
    tab.open(report)
    chromium.unfold(tab, "items")
    order = tab.value("JSON.parse($('cells').textContent).order")
    tab.value("document.querySelector('#cell-3-2').click()")
    for column in (2, 3):
        n = order[column]
        assert (
            tab.value("document.querySelector('#item pre').textContent") == item.prompts[n]
        )  # the very text
        sign = "getComputedStyle(document.querySelector('#item pre .ws'), '::before').content"
        assert tab.value(sign) != "none"
        cells = tab.value("[...document.querySelectorAll('#item .choices td')].map((c) => c.textContent)")
        expected = []
        for choice in range(len(item.choices)):
            for run in item.runs:
                chosen = run.chosen[n] == choice
                mark = " ✓" if chosen and choice == item.answer else " ✗" if chosen else ""
                share = round(255 * run.probabilities[n][choice]) / 255
                expected.append(f"{math.floor(100 * share + 0.5)}%{mark}")
        assert cells == expected
        tab.press("ArrowRight", 39)
    others = tab.value("document.querySelectorAll('#item .others tbody tr').length")
    assert others == len(answers.variants)
    tab.value("document.querySelectorAll('#item .others button')[0].click()")
    assert tab.value("document.querySelector('#item pre').textContent") == item.prompts[order[0]]
    tab.press("Escape", 27)
    assert tab.value("$('item').open") is False


def test_the_table_by_keyboard(tab: chromium.Tab, report: Path) -> None:
    tab.open(report)
    chromium.unfold(tab, "items")
    tab.value("$('grid').focus()")
    active = "$('grid').getAttribute('aria-activedescendant')"
    for key, code, expected in (
        ("ArrowDown", 40, "cell-1-0"), ("ArrowRight", 39, "cell-1-1"), ("PageDown", 34, "cell-11-1"),
        ("End", 35, f"cell-{example.ITEMS - 1}-1"), ("ArrowUp", 38, f"cell-{example.ITEMS - 2}-1"),
    ):  # fmt: skip
        tab.press(key, code)
        assert tab.value(active) == expected
        inside = f"""(() => {{
            const [a, b] = [$('{expected}'), $('grid')].map((e) => e.getBoundingClientRect());
            return a.top >= b.top && a.bottom <= b.bottom && a.left >= b.left && a.right <= b.right; }})()"""
        assert tab.value(inside), expected
    tab.press("Enter", 13, "\r")
    assert tab.value("$('item').open") is True
    tab.value("document.querySelector('[data-act^=question]').focus()")
    tab.press("Enter", 13, "\r")  # next question: the focus stays on the same button
    assert tab.value("document.activeElement.dataset.act") == "question ▸"
    tab.press("Escape", 27)
    assert tab.value("document.activeElement.id") == "grid"


def test_ten_thousand_questions_stay_quick_and_small(tab: chromium.Tab, tmp_path: Path) -> None:
    whole = example.experiment()
    named = slice(0, len(FORMATS))
    width = len(FORMATS)
    items = []
    for n in range(10_000):
        item = whole.answers.items[n % example.ITEMS]
        runs = [Answers(r.chosen[named], r.probability[named], r.probabilities[named]) for r in item.runs]
        items.append(replace(item, id=str(n), prompts=item.prompts[named], runs=runs))
    (tmp_path / "report.html").write_text(
        page.render(replace(whole, answers=AnswerTable(whole.answers.variants[named], items)))
    )
    assert (tmp_path / "report.html").stat().st_size < 14_000_000
    tab.open(tmp_path / "report.html")
    assert tab.value(chromium.LOADED) < 60_000  # also where other work takes the processor
    chromium.unfold(tab, "items")
    assert tab.value("document.querySelectorAll('.cell').length") < 50 * width  # only the rows in sight
    took = tab.value("""(() => { const start = performance.now(); $('show').value = 'flips-1';
        $('show').dispatchEvent(new Event('input', { bubbles: true }));
        return performance.now() - start; })()""")
    assert took < 10_000
    shown = choose(tab, "all")
    assert shown == 10_000
    tab.value(f"$('grid').scrollTop = 32 * {shown}")
    chromium.settle(tab)
    chromium.settle(tab)
    last = tab.value("[...document.querySelectorAll('.body .line')].at(-1).getAttribute('aria-rowindex')")
    assert last == str(shown + 1)
