"""The data of the table of single answers: everything comes back from it, safely, and its size is bounded."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from steadyphi.report import browser
from steadyphi.results.experiment import Answers, Experiment
from tests.report import example


def data(whole: Experiment) -> dict[str, Any]:
    """Return the data as a browser reads it."""
    section = browser.section(whole)
    assert section
    text = section.body.split('id="cells">')[1].split("</script>")[0]
    assert not set("<>&\u2028") & set(text)
    return dict(json.loads(text))


@pytest.fixture(scope="module")
def whole() -> Experiment:
    return example.experiment()


@pytest.fixture(scope="module")
def cells(whole: Experiment) -> dict[str, Any]:
    return data(whole)


def test_every_prompt_comes_back_and_most_are_stored_once(cells: dict[str, Any], whole: Experiment) -> None:
    unusual = 0
    for packed, item in zip(cells["items"], whole.answers.items, strict=True):
        for n, prompt in enumerate(item.prompts):
            shape = cells["variants"][n]["shape"]
            usual = shape and shape[0] + packed["question"] + shape[1]
            assert packed.get("prompts", {}).get(str(n), usual) == prompt
        unusual += len(packed.get("prompts", {}))
    noisy = sum(name.startswith("noise") for name in whole.answers.variants)
    assert unusual == noisy * len(cells["items"])


def test_every_answer_comes_back(cells: dict[str, Any], whole: Experiment) -> None:
    chosen, shares = (base64.b64decode(cells[key]) for key in ("chosen", "shares"))
    runs = [run for item in whole.answers.items for run in item.runs]
    assert list(chosen) == [choice for run in runs for choice in run.chosen]
    flat = [share for run in runs for row in run.probabilities for share in row]
    assert [byte / 255 for byte in shares] == pytest.approx(flat, abs=0.5 / 255 + 1e-9)


def test_columns_stand_by_set_and_are_called_by_their_text(cells: dict[str, Any]) -> None:
    variants = [cells["variants"][n] for n in cells["order"]]
    sets = [v["set"] for v in variants]
    assert list(dict.fromkeys(sets)) == ["Trained on", "Chosen on", "Tested on", ""]  # each set is one block
    assert sets == sorted(sets, key=["Trained on", "Chosen on", "Tested on", ""].index)
    assert "input␣-␣…␣||␣output␣-␣" in [v["label"] for v in variants]


def test_many_choices_take_two_bytes(whole: Experiment) -> None:
    item = whole.answers.items[0]
    width = len(whole.answers.variants)
    many = replace(
        item,
        choices=[str(n) for n in range(300)],
        answer=299,
        runs=[Answers([299] * width, [1.0] * width, [[0.0] * 299 + [1.0]] * width) for _ in item.runs],
    )
    packed = data(replace(whole, answers=replace(whole.answers, items=[many])))
    chosen = base64.b64decode(packed["chosen"])
    assert packed["wide"] and int.from_bytes(chosen[:2], "little") == 299 and len(chosen) == 2 * 2 * width


def test_what_no_model_computed_is_zero(whole: Experiment) -> None:
    assert [browser._step(share) for share in (float("nan"), 0.0, 1.0, 0.5)] == [0, 0, 255, 128]


def test_the_size_is_bounded_and_what_is_left_out_is_said(
    whole: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "MOST", 40_000)
    section = browser.section(whole)
    assert section
    kept = len(data(whole)["items"])
    assert 1 < kept < len(whole.answers.items)
    assert f"The table has the first {kept} questions of {len(whole.answers.items)}; all" in section.body
    text = section.body.split('id="cells">')[1]
    heads = len(json.dumps(data(whole)["variants"]))
    assert len(text) < 40_000 + 2 * heads
