"""The exported prompt is that of the evaluation."""

from dataclasses import replace

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.export_prompt import chat_of, measured_style
from steadyphi.prompts.dialogue import chat_template, ollama_template
from steadyphi.prompts.formats import DEFAULT, FORMATS
from steadyphi.results.stored import Evaluation
from tests.report.example import experiment


def evaluation(**changes: object) -> Evaluation:
    return Evaluation(replace(experiment().runs[1], **changes), [], [], [])


def test_style_is_the_recommended_one_else_the_default() -> None:
    result = evaluation().result
    assert result.recommendation and result.recommendation.variant != "qa"
    assert measured_style(evaluation()) == result.recommendation.variant
    assert measured_style(evaluation(recommendation=None, default="qa")) == "qa"
    assert measured_style(None) == DEFAULT


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(SteadyPhiError, match="unknown format 'of another version'; give --style"):
        measured_style(evaluation(recommendation=None, default="of another version"))


def test_templates_are_those_of_the_style() -> None:
    style = FORMATS["qa"]
    chat = chat_of(style)
    assert (chat.style, chat.template, chat.ollama) == ("qa", chat_template(style), ollama_template(style))
    assert chat.texts is None  # a named format needs no definition
