"""The alarms of an evaluation, by family and by style of listing options."""

import dataclasses
from types import SimpleNamespace
from typing import Any

from steadyphi.results.analysis import _alarms
from steadyphi.results.answers import EvaluationAnswers
from steadyphi.results.result import Estimate
from tests.results.test_panel import answers

FORMATS = {"good": 4.0, "bad": 1.5}
LISTED = {"letters-0": 0.0, "letters-1": 0.0, "numbers-0": 4.0}
DIFFER = {"p_value": Estimate(0.001)}


def asked(quality: dict[str, float]) -> EvaluationAnswers:
    """Return answers whose variants named after a style list options."""
    given = answers(quality, {**dict.fromkeys(LISTED, "options"), "typos": "noise"})
    settings: Any = SimpleNamespace(scorer="raw", confidence=0.95)
    styles: Any = [
        dataclasses.replace(v, options=SimpleNamespace(name=v.name.split("-")[0]))  # type: ignore[arg-type]
        if v.family == "options"
        else v
        for v in given.variants
    ]
    return dataclasses.replace(given, variants=styles, settings=settings)


def test_the_family_or_style_that_guesses_is_named() -> None:
    (alarm,) = _alarms(asked(FORMATS | LISTED), DIFFER)
    assert alarm.startswith("The model may be guessing in 1 of 2 styles of listing the options (letters): ")
    (alarm,) = _alarms(asked(FORMATS | {"typos": 0.0}), DIFFER)
    assert alarm.startswith("Even the best of 1 variant (noise), ")
    assert _alarms(asked(FORMATS | {"typos": 4.0}), DIFFER) == []


def test_formats_that_guess_are_the_only_alarm() -> None:
    (alarm,) = _alarms(asked({"good": 0.0, "bad": 0.0} | LISTED), {"p_value": Estimate(0.5)})
    assert alarm.startswith("Even the best of 2 variants, ")


def test_formats_that_may_not_differ_are_said() -> None:
    (alarm,) = _alarms(asked(FORMATS), {"p_value": Estimate(0.5)})
    assert "do not show that the formats differ (p = 0.50)" in alarm
